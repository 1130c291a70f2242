// SPDX-License-Identifier: Apache-2.0
// Products of a few tokens in bfloat16 on processors that multiply pairs of bfloat16 (AVX512-BF16).
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/skinny_product_cpu.h"

namespace braid::kernels::level_avx512bf16 {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_few_tokens.inl"

constexpr int64_t words = 32;  // of a register

BRAID_INLINE __m512bh numbers_at(const Bf16* p, int64_t count) {
  if (count == words) return (__m512bh)_mm512_loadu_si512(p);
  return (__m512bh)_mm512_maskz_loadu_epi16(__mmask32((uint64_t(1) << count) - 1), p);
}

// As the other instruction sets' row_sums.
template <int R, int N>
BRAID_INLINE void row_sums(const Bf16* row, const Bf16* x, int64_t inputs, float (&out)[R][N]) {
  __m512 sums[R][N] = {};
  for (int64_t k = 0; k < inputs; k += words) {
    const int64_t count = smaller(words, inputs - k);
    __m512bh weights[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      if (R > 1) __builtin_prefetch(row + (R + r) * inputs + k);
      weights[r] = numbers_at(row + r * inputs + k, count);
    }
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const __m512bh its = numbers_at(x + n * inputs + k, count);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sums[r][n] = _mm512_dpbf16_ps(sums[r][n], weights[r], its);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) out[r][n] = sum_of((FloatLanes)sums[r][n]);
  }
}

template <int R>
BRAID_INLINE void rows_of(const SkinnyShape& shape, int64_t row, const Bf16* x, const Bf16* weight, const Bf16* bias,
                          Bf16* y) {
  for (int64_t first = 0; first < shape.tokens; first += few_tokens) {
    with_tokens(smaller(few_tokens, shape.tokens - first), [&](auto count) BRAID_LAMBDA {
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

template <int R>
void all_rows(const SkinnyShape& shape, const Bf16* x, const Bf16* weight, const Bf16* bias, Bf16* y) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < shape.outputs; row += R) {
    if (row + R <= shape.outputs) {
      rows_of<R>(shape, row, x, weight, bias, y);
    } else {
      for (int64_t rest = row; rest < shape.outputs; ++rest) rows_of<1>(shape, rest, x, weight, bias, y);
    }
  }
}

}  // namespace

// One token's rows are one stream that the processor reads ahead by itself. For more tokens several rows share each x.
void skinny_product_bf16(const SkinnyShape& shape, const void* x_any, const void* weight_any, const void* bias_any,
                         void* y_any) {
  const Bf16* const x = static_cast<const Bf16*>(x_any);
  const Bf16* const weight = static_cast<const Bf16*>(weight_any);
  const Bf16* const bias = static_cast<const Bf16*>(bias_any);
  Bf16* const y = static_cast<Bf16*>(y_any);
  if (shape.tokens <= 2) return all_rows<1>(shape, x, weight, bias, y);
  all_rows<4>(shape, x, weight, bias, y);
}

}  // namespace braid::kernels::level_avx512bf16
