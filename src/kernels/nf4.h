// SPDX-License-Identifier: Apache-2.0
// NF4, the 4-bit numbers of QLoRA (Dettmers et al., arXiv 2305.14314, appendix E), bit-equal to bitsandbytes 0.50. A matrix
// [rows, columns] is cut in flat order into blocks of 64 values, which may straddle rows; the last may be short. Each
// block is divided by its largest magnitude (absmax), and each value becomes the code of the nearest of 16 numbers, a tie
// the lower one. Two codes share a byte, the first in the upper half.
//
// Double quantisation also stores the absmax of all blocks in 8 bits: less their mean, in blocks of 256, by the signed
// dynamic map. 4.127 bits a weight then, 4.5 without.
#pragma once

#include <cstdint>

#include "kernels/launch.h"

namespace braid::kernels {

constexpr int64_t nf4_block = 64, nf4_nested_block = 256;

alignas(64) constexpr float nf4_values[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
    -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
    0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};

constexpr int64_t nf4_blocks(int64_t count) { return (count + nf4_block - 1) / nf4_block; }
constexpr int64_t nf4_bytes(int64_t count) { return (count + 1) / 2; }
constexpr int64_t nf4_nested_blocks(int64_t count) {
  return (nf4_blocks(count) + nf4_nested_block - 1) / nf4_nested_block;
}

// Where the absmax of each block comes from: absmax[b], or with codes map[codes[b]] absmax[b / 256] + offset, each
// operation rounded.
struct Nf4Scales {
  const float* absmax = nullptr;   // [nf4_blocks], or [nf4_nested_blocks] with codes
  const uint8_t* codes = nullptr;  // [nf4_blocks] where the absmax are quantised themselves
  const float* map = nullptr;      // [256] what the codes stand for
  float offset = 0;
};

// A quantised matrix in memory.
struct Nf4Matrix {
  int64_t rows = 0, columns = 0;
  const uint8_t* packed = nullptr;  // [nf4_bytes(rows * columns)]
  Nf4Scales scales;
};

// A rectangle of a matrix.
struct Rectangle {
  int64_t first_row = 0, rows = 0, first_column = 0, columns = 0;
};

// x [count] of float32 or bfloat16 to packed [nf4_bytes(count)] and absmax [nf4_blocks(count)]. A block with a NaN has the
// absmax NaN and the code 15 throughout; an unused lower half of the last byte holds the code of 0.
void nf4_quantise(Launch, int64_t count, Element, const void* x, uint8_t* packed, float* absmax);

// Double quantisation of absmax [blocks] with their mean as offset: codes [blocks], nested [ceil(blocks / 256)].
// bitsandbytes rounds to the nearest on GPUs, as this does; its CPU library goes through a table of 65,536 steps and gives
// a neighbouring code for about 0.2 % of the entries.
void nf4_nest(Launch, int64_t blocks, const float* absmax, float offset, uint8_t* codes, float* nested);

// The rectangle's weights as out [rows, columns] of any element type: code's number times absmax, rounded to float32,
// then to the type.
void nf4_dequantise(Launch, const Nf4Matrix&, Rectangle, Element, void* out);

}  // namespace braid::kernels
