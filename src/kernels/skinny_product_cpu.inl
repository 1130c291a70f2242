// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined.
#include <immintrin.h>
#include <omp.h>
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
      __builtin_prefetch(row + (R > 1 ? (R + r) * inputs : bytes_ahead / int64_t(sizeof(T))) + k);
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

#include "kernels/cpu_skinny_rows.inl"

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

void part_of(Element element, const SkinnyShape& shape, const void* x, const void* weight, void* y, int64_t first,
             int64_t end) {
  if (element == Element::float32) {
    const float* const no_bias = nullptr;
    return product_part(shape, {first, end}, static_cast<const float*>(x), static_cast<const float*>(weight), no_bias,
                        static_cast<float*>(y));
  }
  const Bf16* const no_bias = nullptr;
  const ZeroedArray<float> wide(shape.tokens * shape.inputs);
  widen(static_cast<const Bf16*>(x), shape.tokens * shape.inputs, &wide[0]);
  product_part(shape, {first, end}, &wide[0], static_cast<const Bf16*>(weight), no_bias, static_cast<Bf16*>(y));
}

}  // namespace

const SkinnyKernels skinny_product = {product_of, part_of};

}  // namespace braid::kernels::BRAID_LEVEL
