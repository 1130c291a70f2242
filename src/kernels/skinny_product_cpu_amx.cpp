// SPDX-License-Identifier: Apache-2.0
// Products of more than a handful of tokens in bfloat16, in tiles (AMX): rows of W where they lie are the left side, so that
// W is still one stream of memory, and 16 or 32 tokens the right one. A token's sum is one chain over the inputs.
#include <immintrin.h>
#include <omp.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/skinny_product_cpu.h"

namespace braid::kernels::level_amx {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_few_tokens.inl"
#include "kernels/cpu_product.inl"
#include "kernels/cpu_tiles.inl"

constexpr int64_t rows_at_once = 2 * tile_rows;

// x [tokens, inputs] as the right side: for each 16 tokens, and of these for each 32 inputs, a tile of 16 pairs, those of the
// tokens beside each other.
class Pairs {
 public:
  Pairs(const SkinnyShape& s, const Bf16* x) : panel_(s.inputs / 2 * tile_rows), words_(panels_of(s.tokens) * panel_) {
    for (int64_t first = 0; first < s.tokens; first += tile_rows) {
      transpose<float>(reinterpret_cast<const float*>(x + first * s.inputs), s.inputs / 2, smaller(tile_rows, s.tokens - first),
                       s.inputs / 2, &words_[first / tile_rows * panel_], tile_rows);
    }
  }
  static int64_t panels_of(int64_t tokens) { return (tokens + tile_rows - 1) / tile_rows; }
  const void* tile(int64_t panel, int64_t first_input) const { return &words_[panel * panel_ + first_input / 2 * tile_rows]; }

 private:
  int64_t panel_;
  ZeroedArray<float> words_;  // pairs of bfloat16, which are moved and never computed with
};

// Sums of 32 rows from `row` on for 16 tokens or twice as many: [panels, 32, 16]. `next`, or null: what will be read after them.
template <bool two_panels>
BRAID_INLINE void sum_rows(const Bf16* row, int64_t inputs, const Bf16* next, const Pairs& x, float* sums) {
  clear_sums();
  for (int64_t k = 0; k < inputs; k += tile_words) {
    if (next) {
#pragma GCC unroll 4
      for (int64_t r = 0; r < rows_at_once; ++r) __builtin_prefetch(next + r * inputs + k, 0, 2);  // into the second cache
    }
    load_tile<4>(row + k, 2 * inputs);
    load_tile<5>(row + tile_rows * inputs + k, 2 * inputs);
    load_tile<6>(x.tile(0, k), 64);
    multiply_tiles<0, 4, 6>();
    multiply_tiles<2, 5, 6>();
    if (two_panels) {
      load_tile<7>(x.tile(1, k), 64);
      multiply_tiles<1, 4, 7>();
      multiply_tiles<3, 5, 7>();
    }
  }
  constexpr int64_t square = tile_rows * tile_rows;
  store_tile<0>(sums, 4 * tile_rows);
  store_tile<2>(sums + square, 4 * tile_rows);
  if (!two_panels) return;
  store_tile<1>(sums + 2 * square, 4 * tile_rows);
  store_tile<3>(sums + 3 * square, 4 * tile_rows);
}

// y of `count` rows from `row` on.
void store_rows(const SkinnyShape& s, const float* sums, int64_t row, int64_t count, const Bf16* bias, Bf16* y) {
  for (int64_t token = 0; token < s.tokens; token += tile_rows, sums += rows_at_once * tile_rows) {
    for (int64_t first = 0; first < count; first += tile_rows) {
      const int64_t rows = smaller(tile_rows, count - first), at = row + first;
      FloatLanes square[tile_rows];
      for (int64_t r = 0; r < tile_rows; ++r) square[r] = load(sums + (first + r) * tile_rows, tile_rows);
      transpose_square(square);
      const FloatLanes shift = bias ? load(bias + at, rows) : FloatLanes{};
      for (int64_t n = 0; n < smaller(tile_rows, s.tokens - token); ++n) {
        store(y + (token + n) * s.outputs + at, square[n] + shift, rows);
      }
    }
  }
}

// The last rows may be made twice, to the same bits: whole tiles need no other form of them.
template <bool two_panels>
void product_part(const SkinnyShape& s, Share share, const Bf16* x, const Bf16* weight, const Bf16* bias, Bf16* y) {
  const int64_t all = share.end - share.first;
  if (all < 1) return;
  const Tiles tiles;
  const Pairs pairs(s, x);
  alignas(64) float sums[2 * rows_at_once * tile_rows];
  if (all < rows_at_once) {
    const ZeroedArray<Bf16> own(rows_at_once * s.inputs);
    __builtin_memcpy((void*)&own[0], weight + share.first * s.inputs, size_t(all * s.inputs) * sizeof(Bf16));
    sum_rows<two_panels>(&own[0], s.inputs, nullptr, pairs, sums);
    return store_rows(s, sums, share.first, all, bias, y);
  }
  const int64_t last = share.end - rows_at_once;
  for (int64_t begin = share.first; begin < share.end; begin += rows_at_once) {
    const int64_t row = smaller(begin, last);
    const Bf16* const next = row < last ? weight + smaller(row + rows_at_once, last) * s.inputs : nullptr;
    sum_rows<two_panels>(weight + row * s.inputs, s.inputs, next, pairs, sums);
    store_rows(s, sums, row, rows_at_once, bias, y);
  }
}

}  // namespace

void skinny_product_part_tiles(const SkinnyShape& shape, const void* x, const void* weight, const void* bias, void* y,
                               int64_t first, int64_t end) {
  const auto part = shape.tokens > tile_rows ? product_part<true> : product_part<false>;
  part(shape, {first, end}, static_cast<const Bf16*>(x), static_cast<const Bf16*>(weight), static_cast<const Bf16*>(bias),
       static_cast<Bf16*>(y));
}

void skinny_product_tiles(const SkinnyShape& shape, const void* x, const void* weight, const void* bias, void* y) {
#pragma omp parallel
  {
    const Share own = own_share(shape.outputs);
    skinny_product_part_tiles(shape, x, weight, bias, y, own.first, own.end);
  }
}

}  // namespace braid::kernels::level_amx
