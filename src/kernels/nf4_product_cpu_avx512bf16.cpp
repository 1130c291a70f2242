// SPDX-License-Identifier: Apache-2.0
// Products of a few tokens in bfloat16 on processors that multiply pairs of bfloat16 (AVX512-BF16).
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/nf4_product_cpu.h"

namespace braid::kernels::level_avx512bf16 {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_nf4.inl"

// Two blocks fill a register with codes. As 16-bit words it holds the codes of columns 4j + 1, 4j, 4j + 3 and 4j + 2 in its
// words' nibbles, lowest first, so that x is laid out as four vectors: columns 4j, then 4j + 1, 4j + 2, 4j + 3.
constexpr int64_t pair = 2 * nf4_block, words = 32, quarters = 4;

constexpr int64_t pairs_in(int64_t columns) { return (columns + pair - 1) / pair; }

// x [columns] in that order; a half pair at the end is filled with zeros.
void separate(const Bf16* x, int64_t columns, Bf16* out) {
  for (int64_t p = 0; p < pairs_in(columns); ++p) {
    const int64_t first = p * pair, count = smaller(words, (columns - first) / quarters);
    for (int64_t k = 0; k < quarters; ++k) {
      for (int64_t j = 0; j < count; ++j) out[first + k * words + j] = x[first + quarters * j + k];
    }
  }
}

// absmax of a row's blocks, with a zero after an odd number of them.
BRAID_INLINE const float* row_scales(const Nf4Matrix& w, int64_t row, float* scratch) {
  const int64_t blocks = w.columns / nf4_block, first = row * blocks;
  if (!w.scales.codes && blocks % 2 == 0) return w.scales.absmax + first;
  for (int64_t b = 0; b < blocks; ++b) scratch[b] = block_absmax(w.scales, first + b);
  return scratch;
}

// The first eight lanes multiply the first block's sums, the others the second's.
BRAID_INLINE __m512 both_scales(const float* scales) {
  const __m512i which = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  return _mm512_maskz_permutexvar_ps(0xffff, which, _mm512_castps128_ps512(_mm_castpd_ps(_mm_load_sd((const double*)scales))));
}

struct Table {
  __m512i values;
};

// A permutation looks at five bits of each word, so the sixteen values come twice.
BRAID_INLINE Table rounded_values() {
  alignas(64) Bf16 values[words];
  for (int64_t i = 0; i < words; ++i) store(values + i, FloatLanes{} + nf4_values[i % 16], 1);
  return {_mm512_load_si512(values)};
}

BRAID_INLINE __m512bh numbers_at(const Table& table, __m512i codes) {
  return (__m512bh)_mm512_permutexvar_epi16(codes, table.values);
}

// The first `rest` columns, a block or two, of codes.
BRAID_INLINE __m512i codes_of(const uint8_t* packed, int64_t rest) {
  if (rest >= pair) return _mm512_loadu_si512(packed);
  return _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)packed));
}

// R rows from `packed` on times N tokens; x [N, whole pairs] as `separate` leaves it.
template <int R, int N>
BRAID_INLINE void few_rows(const Table& table, const uint8_t* packed, const float* const (&scales)[R], int64_t columns,
                           const Bf16* x, FloatLanes (&sums)[R][N]) {
  const int64_t row_bytes = columns / 2, stride = pairs_in(columns) * pair;
  for (int64_t first = 0; first < columns; first += pair) {
    __m512bh numbers[R][quarters];
    __m512 scale[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const __m512i codes = codes_of(packed + r * row_bytes, columns - first);
      __builtin_prefetch(packed + (R + r) * row_bytes);
      numbers[r][0] = numbers_at(table, _mm512_srli_epi16(codes, 4));
      numbers[r][1] = numbers_at(table, codes);
      numbers[r][2] = numbers_at(table, _mm512_srli_epi16(codes, 12));
      numbers[r][3] = numbers_at(table, _mm512_srli_epi16(codes, 8));
      scale[r] = both_scales(scales[r] + first / nf4_block);
    }
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const Bf16* const its = x + n * stride + first;
      __m512 partial[R];
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) partial[r] = _mm512_setzero_ps();
#pragma GCC unroll 4
      for (int k = 0; k < quarters; ++k) {
        const __m512bh part = (__m512bh)_mm512_load_si512(its + k * words);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) partial[r] = _mm512_dpbf16_ps(partial[r], numbers[r][k], part);
      }
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sums[r][n] = (FloatLanes)_mm512_fmadd_ps(partial[r], scale[r], (__m512)sums[r][n]);
    }
    packed += pair / 2;
  }
}

template <int R, int N>
BRAID_INLINE void few_rows_of(const Table& table, const Nf4Matrix& w, int64_t row, const Bf16* x, float* scratch, Bf16* y) {
  const float* scales[R];
  for (int r = 0; r < R; ++r) scales[r] = row_scales(w, row + r, scratch + r * 2 * pairs_in(w.columns));
  FloatLanes sums[R][N] = {};
  few_rows<R, N>(table, w.packed + row * w.columns / 2, scales, w.columns, x, sums);
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      store(y + n * w.rows + row + r, FloatLanes{} + sum_of(sums[r][n]), 1);
    }
  }
}

template <int N>
void few_of(const Nf4Matrix& w, const Bf16* x, Bf16* y) {
  constexpr int R = N <= 2 ? 4 : 2;
#pragma omp parallel
  {
    const Table table = rounded_values();
    const ZeroedArray<float> scratch(R * 2 * pairs_in(w.columns));
#pragma omp for schedule(static)
    for (int64_t row = 0; row < w.rows; row += R) {
      if (row + R <= w.rows) {
        few_rows_of<R, N>(table, w, row, x, &scratch[0], y);
      } else {
        for (int64_t rest = row; rest < w.rows; ++rest) few_rows_of<1, N>(table, w, rest, x, &scratch[0], y);
      }
    }
  }
}

void few(const Nf4Matrix& w, int64_t tokens, const Bf16* x, Bf16* y) {
  const int64_t stride = pairs_in(w.columns) * pair;
  const ZeroedArray<Bf16> separated(tokens * stride);
  for (int64_t n = 0; n < tokens; ++n) separate(x + n * w.columns, w.columns, &separated[n * stride]);
  with_tokens(tokens, [&](auto count) BRAID_LAMBDA { few_of<count.value>(w, &separated[0], y); });
}

}  // namespace

void nf4_product_bf16(const Nf4Matrix& w, int64_t tokens, const void* x, void* y) {
  for (int64_t n = 0; n < tokens; n += few_tokens) {
    few(w, smaller(few_tokens, tokens - n), static_cast<const Bf16*>(x) + n * w.columns, static_cast<Bf16*>(y) + n * w.rows);
  }
}

}  // namespace braid::kernels::level_avx512bf16
