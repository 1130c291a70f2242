// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/nf4_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_nf4.inl"
#include "kernels/cpu_blocks.inl"

// How many of the 15 borders lie strictly below x; NaN lies above all.
BRAID_INLINE WordLanes codes_of(FloatLanes x) {
  WordLanes codes = {};
#pragma GCC unroll 15
  for (int i = 0; i < 15; ++i) {
    const float border = (nf4_values[i] + nf4_values[i + 1]) / 2.0f;
    codes -= (WordLanes)~(x <= border);
  }
  return codes;
}

// The codes of a block whose values have been divided by its absmax.
BRAID_INLINE void pack(const float* scaled, uint8_t* packed) {
  uint32_t codes[nf4_block];
  for (int64_t i = 0; i < nf4_block; i += lanes) {
    const WordLanes some = codes_of(load(scaled + i, lanes));
    __builtin_memcpy(codes + i, &some, sizeof some);
  }
  for (int64_t i = 0; i < nf4_block; i += 2) packed[i / 2] = uint8_t(codes[i] << 4 | codes[i + 1]);
}

template <class T>
BRAID_INLINE void widen_block(const T* x, int64_t count, float* out) {
  for (int64_t i = 0; i < count; i += lanes) store(out + i, load(x + i, count - i), lanes);
}

// bitsandbytes multiplies whole blocks by 1 / absmax, and divides a short one by an absmax that is never 0.
template <class T>
BRAID_INLINE void quantise_block(const T* x, uint8_t* packed, float* absmax) {
  float values[nf4_block];
  widen_block(x, nf4_block, values);
  *absmax = largest(values, nf4_block);
  const float scale = 1.0f / (*absmax < least_absmax ? least_absmax : *absmax);
  for (int64_t i = 0; i < nf4_block; i += lanes) store(values + i, load(values + i, lanes) * scale, lanes);
  pack(values, packed);
}

template <class T>
void quantise_short_block(const T* x, int64_t count, uint8_t* packed, float* absmax) {
  float values[nf4_block] = {};
  widen_block(x, count, values);
  const float most = largest(values, count);
  *absmax = most < least_absmax ? least_absmax : most;
  for (int64_t i = 0; i < count; ++i) values[i] /= *absmax;
  uint8_t bytes[nf4_block / 2];
  pack(values, bytes);
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
