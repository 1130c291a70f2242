// SPDX-License-Identifier: Apache-2.0
// Products of a few tokens in bfloat16 on processors that multiply pairs of bfloat16 (AVX512-BF16).
#include <immintrin.h>
#include <omp.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/skinny_product_cpu.h"

namespace braid::kernels::level_avx512bf16 {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_few_tokens.inl"

constexpr int64_t words = 32;  // of a register
constexpr int64_t tokens_at_once = few_tokens;
constexpr int rows_at_once = 4;

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
      __builtin_prefetch(row + (R > 1 ? (R + r) * inputs : bytes_ahead / int64_t(sizeof(Bf16))) + k);
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

#include "kernels/cpu_skinny_rows.inl"

}  // namespace

void skinny_product_bf16(const SkinnyShape& shape, const void* x, const void* weight, const void* bias, void* y) {
  product(shape, static_cast<const Bf16*>(x), static_cast<const Bf16*>(weight), static_cast<const Bf16*>(bias),
          static_cast<Bf16*>(y));
}

void skinny_product_part_bf16(const SkinnyShape& shape, const void* x, const void* weight, void* y, int64_t first,
                              int64_t end) {
  const Bf16* const no_bias = nullptr;
  product_part(shape, {first, end}, static_cast<const Bf16*>(x), static_cast<const Bf16*>(weight), no_bias,
               static_cast<Bf16*>(y));
}

}  // namespace braid::kernels::level_avx512bf16
