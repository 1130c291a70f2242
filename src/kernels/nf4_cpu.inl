// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined.
#include <immintrin.h>
#include <omp.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/nf4_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_nf4.inl"
#include "kernels/cpu_blocks.inl"


// Between the numbers of neighbouring codes.
struct Borders {
  alignas(64) float between[16] = {};
  constexpr Borders() {
    for (int i = 0; i < 15; ++i) between[i] = (nf4_values[i] + nf4_values[i + 1]) / 2.0f;
  }
};
constexpr Borders borders;

// How many of the 15 borders lie strictly below x; NaN lies above all.
BRAID_INLINE WordLanes codes_of(FloatLanes x) {
#if defined(__AVX512F__)
  FloatLanes all;
  __builtin_memcpy(&all, borders.between, sizeof all);
  WordLanes codes = {};
#pragma GCC unroll 4
  for (uint32_t step = 8; step > 0; step /= 2) {
    codes = x <= __builtin_shuffle(all, codes + (step - 1)) ? codes : codes + step;
  }
#else
  WordLanes codes = WordLanes{} + 15;
#pragma GCC unroll 15
  for (int i = 0; i < 15; ++i) codes += (WordLanes)(x <= borders.between[i]);
#endif
  return codes;
}

// Neighbouring codes share a byte.
BRAID_INLINE void pack(WordLanes codes, uint8_t* packed) {
  const LongLanes pairs = (LongLanes)codes, bytes = pairs << 4 | pairs >> 32;
#if defined(__AVX512F__)
  _mm_storel_epi64((__m128i*)packed, _mm512_maskz_cvtepi64_epi8(0xff, (__m512i)bytes));
#else
  for (int64_t i = 0; i < lanes / 2; ++i) packed[i] = uint8_t(bytes[i]);
#endif
}

constexpr int vectors = int(nf4_block / lanes);  // of a block

// `count` values of a block in registers, then zeros; the largest magnitude.
template <class T>
BRAID_INLINE float load_block(const T* x, int64_t count, FloatLanes (&values)[vectors]) {
  IntLanes most = {};
#pragma GCC unroll 16
  for (int v = 0; v < vectors; ++v) {
    values[v] = v * lanes < count ? load(x + v * lanes, count - v * lanes) : FloatLanes{};
    most = larger(most, magnitude(values[v]));
  }
  return largest_lane(most);
}

// bitsandbytes multiplies whole blocks by 1 / absmax, and divides a short one by an absmax that is never 0.
template <class T>
BRAID_INLINE void quantise_block(const T* x, uint8_t* packed, float* absmax) {
  FloatLanes values[vectors];
  *absmax = load_block(x, nf4_block, values);
  const float scale = 1.0f / (*absmax < least_absmax ? least_absmax : *absmax);
#pragma GCC unroll 16
  for (int v = 0; v < vectors; ++v) pack(codes_of(values[v] * scale), packed + v * lanes / 2);
}

template <class T>
void quantise_short_block(const T* x, int64_t count, uint8_t* packed, float* absmax) {
  FloatLanes values[vectors];
  const float most = load_block(x, count, values);
  *absmax = most < least_absmax ? least_absmax : most;
  uint8_t bytes[nf4_block / 2];
  for (int v = 0; v < vectors; ++v) pack(codes_of(values[v] / *absmax), bytes + v * lanes / 2);
  __builtin_memcpy(packed, bytes, size_t((count + 1) / 2));
}

template <class T>
void quantise_as(int64_t count, const void* x_any, uint8_t* packed, float* absmax) {
  const T* const x = static_cast<const T*>(x_any);
  const int64_t whole = count / nf4_block;
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < whole; ++b) {
    quantise_block(x + b * nf4_block, packed + b * (nf4_block / 2), absmax + b);
  }
  const int64_t first = whole * nf4_block;
  if (first < count) quantise_short_block(x + first, count - first, packed + first / 2, absmax + whole);
}

void quantise(int64_t count, Element element, const void* x, uint8_t* packed, float* absmax) {
  if (element == Element::bfloat16) return quantise_as<Bf16>(count, x, packed, absmax);
  quantise_as<float>(count, x, packed, absmax);
}

void nest_block(const MapTables& map, int64_t count, const float* absmax, float offset, uint8_t* codes, float* nested) {
  float values[nf4_nested_block];
  for (int64_t i = 0; i < count; ++i) values[i] = absmax[i] - offset;
  *nested = largest(values, count);
  const float scale = 1.0f / (*nested < least_absmax ? least_absmax : *nested);
  for (int64_t i = 0; i < count; ++i) codes[i] = code_in(map, values[i] * scale);
}

void nest(MapTables map, int64_t blocks, const float* absmax, float offset, uint8_t* codes, float* nested) {
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < blocks; first += nf4_nested_block) {
    nest_block(map, smaller(nf4_nested_block, blocks - first), absmax + first, offset, codes + first,
               nested + first / nf4_nested_block);
  }
}

template <class T>
void dequantise_as(const Nf4Matrix& w, Rectangle box, void* out) {
  constexpr int64_t piece = 4096;  // weights that a thread decodes at a time
  const int64_t pieces = (box.columns + piece - 1) / piece;
#pragma omp parallel for schedule(static) collapse(2)
  for (int64_t row = 0; row < box.rows; ++row) {
    for (int64_t p = 0; p < pieces; ++p) {
      const int64_t column = p * piece;
      decode_run(w, (box.first_row + row) * w.columns + box.first_column + column, smaller(piece, box.columns - column),
                 static_cast<T*>(out) + row * box.columns + column);
    }
  }
}

void dequantise(const Nf4Matrix& w, Rectangle box, Element element, void* out) {
  switch (element) {
    case Element::float32: return dequantise_as<float>(w, box, out);
    case Element::bfloat16: return dequantise_as<Bf16>(w, box, out);
    case Element::float64: return dequantise_as<double>(w, box, out);
  }
}

}  // namespace

const Nf4Kernels nf4 = {quantise, nest, dequantise};

}  // namespace braid::kernels::BRAID_LEVEL
