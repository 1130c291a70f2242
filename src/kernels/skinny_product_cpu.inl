// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/skinny_product_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_few_tokens.inl"

#if defined(__AVX512F__)
constexpr int64_t tokens_at_once = few_tokens;
constexpr int rows_at_once = 4;
#else
constexpr int64_t tokens_at_once = few_tokens / 2;  // half as many registers
constexpr int rows_at_once = 2;
#endif

// R rows of W from `row` on with N tokens, x [N, inputs] in float32. Every sum has its own lanes whatever R and N are, so
// that its order never depends on them.
template <int R, int N, class T>
BRAID_INLINE void row_sums(const T* row, const float* x, int64_t inputs, float (&out)[R][N]) {
  FloatLanes sums[R][N] = {};
  for (int64_t k = 0; k < inputs; k += lanes) {
    const int64_t count = smaller(lanes, inputs - k);
    FloatLanes weights[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      if (R > 1) __builtin_prefetch(row + (R + r) * inputs + k);
      weights[r] = load(row + r * inputs + k, count);
    }
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const FloatLanes its = load(x + n * inputs + k, count);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sums[r][n] += weights[r] * its;
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) out[r][n] = sum_of(sums[r][n]);
  }
}

// y [tokens, outputs] of all tokens and R rows from `row` on, which then are read from memory but once.
template <int R, class T>
BRAID_INLINE void rows_of(const SkinnyShape& shape, int64_t row, const float* x, const T* weight, const T* bias, T* y) {
  for (int64_t first = 0; first < shape.tokens; first += tokens_at_once) {
    with_tokens(smaller(tokens_at_once, shape.tokens - first), [&](auto count) BRAID_LAMBDA {
      float sums[R][count.value];
      row_sums(weight + row * shape.inputs, x + first * shape.inputs, shape.inputs, sums);
      for (int r = 0; r < R; ++r) {
        const float shift = bias ? load(bias + row + r, 1)[0] : 0;
        for (int n = 0; n < count.value; ++n) {
          store(y + (first + n) * shape.outputs + row + r, FloatLanes{} + (sums[r][n] + shift), 1);
        }
      }
    });
  }
}

template <int R, class T>
void all_rows(const SkinnyShape& shape, const float* x, const T* weight, const T* bias, T* y) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < shape.outputs; row += R) {
    if (row + R <= shape.outputs) {
      rows_of<R>(shape, row, x, weight, bias, y);
    } else {
      for (int64_t rest = row; rest < shape.outputs; ++rest) rows_of<1>(shape, rest, x, weight, bias, y);
    }
  }
}

// One token's rows are one stream that the processor reads ahead by itself. For more tokens several rows share each x.
template <class T>
void product(const SkinnyShape& shape, const float* x, const T* weight, const T* bias, T* y) {
  if (shape.tokens <= 2) return all_rows<1>(shape, x, weight, bias, y);
  all_rows<rows_at_once>(shape, x, weight, bias, y);
}

void widen(const Bf16* x, int64_t count, float* out) {
  for_columns<float>(count, [&](int64_t i, int64_t n) BRAID_LAMBDA { store(out + i, load(x + i, n), n); });
}

void product_of(Element element, const SkinnyShape& shape, const void* x, const void* weight, const void* bias,
                void* y) {
  if (element == Element::float32) {
    return product(shape, static_cast<const float*>(x), static_cast<const float*>(weight),
                   static_cast<const float*>(bias), static_cast<float*>(y));
  }
  const ZeroedArray<float> wide(shape.tokens * shape.inputs);
  widen(static_cast<const Bf16*>(x), shape.tokens * shape.inputs, &wide[0]);
  product(shape, &wide[0], static_cast<const Bf16*>(weight), static_cast<const Bf16*>(bias), static_cast<Bf16*>(y));
}

}  // namespace

const SkinnyProduct skinny_product = product_of;

}  // namespace braid::kernels::BRAID_LEVEL
