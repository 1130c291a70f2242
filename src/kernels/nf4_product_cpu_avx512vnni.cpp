// SPDX-License-Identifier: Apache-2.0
// Products of a few tokens in bfloat16 on processors that multiply pairs of 16-bit whole numbers (AVX512-VNNI), which takes
// Intel's a quarter of the time that pairs of bfloat16 take. Both sides are fixed-point numbers: the values that codes stand
// for, rounded to bfloat16, are whole multiples of 2^-11; a token's numbers are multiples of 2^-15 of the power of two above
// the largest of their block, so that all are exact but those below a 128th of it.
#include <immintrin.h>
#include <omp.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/nf4_product_cpu.h"

namespace braid::kernels::level_avx512vnni {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_nf4.inl"

// Two blocks fill a register with codes. As 16-bit words it holds the codes of columns 4j + 1, 4j, 4j + 3 and 4j + 2 in its
// words' nibbles, lowest first, so that x is laid out as four vectors: columns 4j, then 4j + 1, 4j + 2, 4j + 3.
constexpr int64_t pair = 2 * nf4_block, words = 32, quarters = 4;
constexpr int value_bits = 11;

constexpr int64_t pairs_in(int64_t columns) { return (columns + pair - 1) / pair; }

BRAID_INLINE float power_of_two(int exponent) {
  const uint32_t bits = uint32_t(exponent + 127) << 23;
  float power;
  __builtin_memcpy(&power, &bits, sizeof power);
  return power;
}

// A token's numbers in that order; a half pair at the end is filled with zeros. What a block's sums are to be multiplied by,
// in the lanes that they are in: NaN where one of its numbers is none or infinite.
struct FixedToken {
  int16_t numbers[quarters * words];
  float units[16];
};

void fix_block(const Bf16* x, int64_t half, FixedToken& out) {
  int exponent = 26;  // the lowest whose unit is no denormal number
  for (int64_t i = 0; i < nf4_block; ++i) {
    const int its = (x[i].bits & 0x7fff) >> 7;
    exponent = its > exponent ? its : exponent;
  }
  const float unit = exponent == 255 ? __builtin_nanf("") : power_of_two(exponent - 141 - value_bits);
  const float factor = exponent == 255 ? 0 : power_of_two(141 - exponent);
  for (int64_t lane = 0; lane < 8; ++lane) out.units[half * 8 + lane] = unit;
  alignas(64) int16_t whole[nf4_block];
  for (int64_t i = 0; i < nf4_block; i += lanes) {
    const __m512i wide = _mm512_maskz_cvtps_epi32(0xffff, (__m512)(load(x + i, lanes) * factor));
    _mm256_store_si256((__m256i*)(whole + i), _mm512_maskz_cvtepi32_epi16(0xffff, wide));
  }
  for (int64_t i = 0; i < nf4_block; i += words) {
    const __m512i fours = _mm512_load_si512(whole + i);
    for (int k = 0; k < quarters; ++k) {
      const __m512i each = _mm512_maskz_srl_epi64(0xff, fours, _mm_cvtsi32_si128(16 * k));
      _mm_store_si128((__m128i*)(out.numbers + k * words + (half * nf4_block + i) / quarters), _mm512_maskz_cvtepi64_epi16(0xff, each));
    }
  }
}

// x [columns], whole blocks, to [pairs]; `out` is zeroed.
void fix(const Bf16* x, int64_t columns, FixedToken* out) {
  for (int64_t first = 0; first < columns; first += nf4_block) {
    fix_block(x + first, first / nf4_block % 2, out[first / pair]);
  }
}

// absmax of a row's blocks, with a zero after an odd number of them.
BRAID_INLINE const float* row_scales(const Nf4Matrix& w, int64_t row, float* scratch) {
  const int64_t blocks = w.columns / nf4_block, first = row * blocks;
  if (!w.scales.codes && blocks % 2 == 0) return w.scales.absmax + first;
  block_absmaxes(w.scales, first, blocks, scratch);
  return scratch;
}

// The first eight lanes multiply the first block's sums, the others the second's.
BRAID_INLINE FloatLanes both_scales(const float* scales) {
  return (FloatLanes)_mm512_mask_mov_ps(_mm512_set1_ps(scales[0]), 0xff00, _mm512_set1_ps(scales[1]));
}

struct Table {
  __m512i values;
};

// A permutation looks at five bits of each word, so the sixteen values come twice.
BRAID_INLINE Table whole_values() {
  alignas(64) int16_t values[words];
  for (int64_t i = 0; i < words; ++i) {
    Bf16 rounded_value;
    store(&rounded_value, FloatLanes{} + nf4_values[i % 16], 1);
    values[i] = int16_t(load(&rounded_value, 1)[0] * float(1 << value_bits));
  }
  return {_mm512_load_si512(values)};
}

BRAID_INLINE __m512i numbers_at(const Table& table, __m512i codes) {
  return _mm512_maskz_permutexvar_epi16(~__mmask32(0), codes, table.values);
}

// The first `rest` columns, a block or two, of codes.
BRAID_INLINE __m512i codes_of(const uint8_t* packed, int64_t rest) {
  if (rest >= pair) return _mm512_loadu_si512(packed);
  return _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)packed));
}

// So few streams of memory at once; registers have room for the sums of few_tokens.
constexpr int rows_at_once = 2;

// R rows from `packed` on times N tokens x [N, pairs].
template <int R, int N>
BRAID_INLINE void few_rows(const Table& table, const uint8_t* packed, const float* const (&scales)[R], int64_t columns,
                           const FixedToken* x, FloatLanes (&sums)[R][N]) {
  const int64_t row_bytes = columns / 2, stride = pairs_in(columns);
  const int64_t ahead = rows_at_once * row_bytes + 1024;  // into the rows behind these
  for (int64_t first = 0; first < columns; first += pair) {
    __m512i numbers[R][quarters];
    FloatLanes scale[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const __m512i codes = codes_of(packed + r * row_bytes, columns - first);
      __builtin_prefetch(packed + r * row_bytes + ahead);
      numbers[r][0] = numbers_at(table, _mm512_srli_epi16(codes, 4));
      numbers[r][1] = numbers_at(table, codes);
      numbers[r][2] = numbers_at(table, _mm512_srli_epi16(codes, 12));
      numbers[r][3] = numbers_at(table, _mm512_srli_epi16(codes, 8));
      scale[r] = both_scales(scales[r] + first / nf4_block);
    }
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const FixedToken& its = x[n * stride + first / pair];
      const FloatLanes units = load(its.units, lanes);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        __m512i partial = _mm512_setzero_si512();
#pragma GCC unroll 4
        for (int k = 0; k < quarters; ++k) {
          partial = _mm512_dpwssd_epi32(partial, numbers[r][k], _mm512_load_si512(its.numbers + k * words));
        }
        const FloatLanes whole = (FloatLanes)_mm512_maskz_cvtepi32_ps(0xffff, partial);
        sums[r][n] += whole * (scale[r] * units);
      }
    }
    packed += pair / 2;
  }
}

template <int R, int N>
BRAID_INLINE void few_rows_of(const Table& table, const Nf4Matrix& w, int64_t row, const FixedToken* x, float* scratch, Bf16* y,
                              int64_t stride) {
  const float* scales[R];
  for (int r = 0; r < R; ++r) scales[r] = row_scales(w, row + r, scratch + r * 2 * pairs_in(w.columns));
  FloatLanes sums[R][N] = {};
  few_rows<R, N>(table, w.packed + row * w.columns / 2, scales, w.columns, x, sums);
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) store(y + n * stride + row + r, FloatLanes{} + sum_of(sums[r][n]), 1);
  }
}

// Rows first to end - 1.
template <int N>
void few_between(const Nf4Matrix& w, const FixedToken* x, Bf16* y, int64_t stride, int64_t first, int64_t end) {
  const Table table = whole_values();
  const ZeroedArray<float> scratch(rows_at_once * 2 * pairs_in(w.columns));
  int64_t row = first;
  for (; row + rows_at_once <= end; row += rows_at_once) few_rows_of<rows_at_once, N>(table, w, row, x, &scratch[0], y, stride);
  for (; row < end; ++row) few_rows_of<1, N>(table, w, row, x, &scratch[0], y, stride);
}

// x [tokens, columns] to [tokens, pairs]; `out` is zeroed.
void fix_all(const Bf16* x, int64_t tokens, int64_t columns, FixedToken* out) {
  for (int64_t n = 0; n < tokens; ++n) fix(x + n * columns, columns, out + n * pairs_in(columns));
}

void few(const Nf4Matrix& w, int64_t tokens, const Bf16* x, Bf16* y) {
  const ZeroedArray<FixedToken> fixed(tokens * pairs_in(w.columns));
  fix_all(x, tokens, w.columns, &fixed[0]);
  with_tokens(tokens, [&](auto count) BRAID_LAMBDA {
#pragma omp parallel
    {
      const Share share = own_share(w.rows);
      few_between<count.value>(w, &fixed[0], y, w.rows, share.first, share.end);
    }
  });
}

}  // namespace

void nf4_product_bf16(const Nf4Matrix& w, int64_t tokens, const void* x, void* y) {
  for (int64_t n = 0; n < tokens; n += few_tokens) {
    few(w, smaller(few_tokens, tokens - n), static_cast<const Bf16*>(x) + n * w.columns, static_cast<Bf16*>(y) + n * w.rows);
  }
}

void nf4_product_part_bf16(const Nf4Matrix& w, int64_t tokens, const void* x, void* y, int64_t stride, int64_t first,
                           int64_t end) {
  const ZeroedArray<FixedToken> fixed(tokens * pairs_in(w.columns));
  fix_all(static_cast<const Bf16*>(x), tokens, w.columns, &fixed[0]);
  for (int64_t n = 0; n < tokens; n += few_tokens) {
    with_tokens(smaller(few_tokens, tokens - n), [&](auto count) BRAID_LAMBDA {
      few_between<count.value>(w, &fixed[n * pairs_in(w.columns)], static_cast<Bf16*>(y) + n * stride, stride, first, end);
    });
  }
}

}  // namespace braid::kernels::level_avx512vnni
