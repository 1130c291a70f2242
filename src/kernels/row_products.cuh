// SPDX-License-Identifier: Apache-2.0
// The device side of row_products.cu: y = x W^T for a few tokens, in which W is read once, in words of 16 bytes (8 of NF4).
// One or several warps take a pair of rows (row_pairs.h). A token's sums have one order, whatever tokens are beside it.
#pragma once

#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_nf4.cuh"
#include "kernels/row_pairs.h"

namespace braid::kernels {

constexpr int pair_warps = 8, pair_threads = pair_warps * warp_size, most_pair_tokens = 8;

// W neighbouring elements in words of up to 16 bytes; p is aligned to such a word.
template <int W, class T>
__device__ __forceinline__ void load_row(const T* p, float (&values)[W]) {
  constexpr int word = W * sizeof(T) <= 16 ? W : 16 / int(sizeof(T));
#pragma unroll
  for (int i = 0; i < W; i += word) {
    float some[word];
    load<word>(p + i, some);
#pragma unroll
    for (int k = 0; k < word; ++k) values[i + k] = some[k];
  }
}

// Rows of a dense matrix [rows, columns], of which a lane takes `step` columns at a time.
template <class T, int W>
struct DenseRows {
  static constexpr int step = W, blocks = 4;
  using Word = typename Word<W * sizeof(T)>::Type;
  using Row = const T*;
  const T* weight;
  int64_t columns;

  __device__ __forceinline__ Row row(int64_t number) const { return weight + number * columns; }
  __device__ __forceinline__ Word fetch(Row row, int64_t column) const {
    return __ldcs(reinterpret_cast<const Word*>(row + column));
  }
  __device__ __forceinline__ static void decode(const Row&, const Word& word, const float*, float (&values)[W]) {
    T raw[W];
    memcpy(raw, &word, sizeof(word));
#pragma unroll
    for (int k = 0; k < W; ++k) values[k] = widen(raw[k]);
  }
};

constexpr int most_nf4_parts = 3;  // queries, keys and values

// Rows of up to three matrices in NF4 one below the other, of whole blocks a row. Columns of a lane are within a block.
struct Nf4Rows {
  static constexpr int step = 16, blocks = 3;
  struct Word {
    uint2 codes;
    float scale;         // absmax, or what its own code is multiplied by:
    uint8_t scale_code;  // looked up when it is there, so that no load waits for another
  };
  struct Row {
    const uint8_t* packed;
    Nf4Scales scales;
    int64_t first;  // flat element
  };
  Nf4Matrix parts[most_nf4_parts];  // unused ones have no rows
  int64_t columns;

  __device__ __forceinline__ Row row(int64_t number) const {
    int part = 0;
    while (part + 1 < most_nf4_parts && number >= parts[part].rows) number -= parts[part++].rows;
    return {parts[part].packed, parts[part].scales, number * columns};
  }
  __device__ __forceinline__ Word fetch(const Row& row, int64_t column) const {
    const int64_t at = row.first + column, block = at / nf4_block;
    const uint2 codes = __ldcs(reinterpret_cast<const uint2*>(row.packed + at / 2));
    if (!row.scales.codes) return {codes, row.scales.absmax[block], 0};
    return {codes, row.scales.absmax[block / nf4_nested_block], row.scales.codes[block]};
  }
  __device__ __forceinline__ static void decode(const Row& row, const Word& word, const float* numbers, float (&values)[step]) {
    float absmax = word.scale;
    if (row.scales.codes) absmax = __fadd_rn(__fmul_rn(__ldg(row.scales.map + word.scale_code), absmax), row.scales.offset);
#pragma unroll
    for (int k = 0; k < step; ++k) {
      const unsigned four = k < step / 2 ? word.codes.x : word.codes.y;
      const int byte = k % (step / 2) / 2;  // the first of two codes is in its upper half
      values[k] = numbers[(four >> (8 * byte + (k % 2 ? 0 : 4))) & 15u] * absmax;
    }
  }
};

// Shares of a token's sums, of the columns from `first` on in steps of `stride`.
template <int tokens, class Rows, class T>
__device__ __forceinline__ void pair_sums(const Rows& w, RowPair pair, const float* numbers, int count, const T* x,
                                          int64_t first, int64_t stride, float (&sums)[2][tokens]) {
  constexpr int W = Rows::step, ahead = 4;  // words of each row under way at once
  const typename Rows::Row rows[2] = {w.row(pair.first), w.row(pair.second)};
  typename Rows::Word words[2][ahead];
  const auto fetch = [&](int64_t begin) {
#pragma unroll
    for (int k = 0; k < ahead; ++k) {
      if (begin + k * stride >= w.columns) continue;
      words[0][k] = w.fetch(rows[0], begin + k * stride);
      words[1][k] = w.fetch(rows[1], begin + k * stride);
    }
  };
  fetch(first);
  wait_for_earlier();
  for (int64_t begin = first; begin < w.columns; begin += ahead * stride) {
    if (begin != first) fetch(begin);
#pragma unroll
    for (int k = 0; k < ahead; ++k) {
      const int64_t column = begin + k * stride;
      if (column >= w.columns) continue;
      float a[W], b[W];
      Rows::decode(rows[0], words[0][k], numbers, a);
      Rows::decode(rows[1], words[1][k], numbers, b);
#pragma unroll
      for (int n = 0; n < tokens; ++n) {
        float values[W];
        load_row<W>(x + min(n, count - 1) * w.columns + column, values);  // without a branch that loads would wait at
#pragma unroll
        for (int i = 0; i < W; ++i) sums[0][n] = fmaf(a[i], values[i], sums[0][n]);
#pragma unroll
        for (int i = 0; i < W; ++i) sums[1][n] = fmaf(b[i], values[i], sums[1][n]);
      }
    }
  }
}

// Thread blocks that a multiprocessor has room for at least. For one token as many as small matrices come to on a large GPU, so
// that none begins when others end, as far as registers go.
template <class Rows>
constexpr int pair_blocks(int tokens) { return tokens == 1 ? Rows::blocks : 2; }

// x [count, columns] of at most `tokens`; finish(n, pair, a, b) takes the two sums of token n. Each thread block has
// pair_warps / split pairs.
template <int tokens, class Rows, class T, class Finish>
__global__ void __launch_bounds__(pair_threads, pair_blocks<Rows>(tokens))
    pair_kernel(Rows w, int64_t rows, int64_t half, int split, int count, const T* x, Finish finish) {
  __shared__ float numbers[16], partial[pair_warps][2][tokens];
  start_next();
  if (threadIdx.x < 16) numbers[threadIdx.x] = nf4_number[threadIdx.x];
  __syncthreads();
  const int warp = int(threadIdx.x) / warp_size, lane = int(threadIdx.x) % warp_size, of_block = pair_warps / split;
  const int64_t first_pair = int64_t(blockIdx.x) * of_block, pairs = pairs_of(rows);
  float sums[2][tokens] = {};
  if (first_pair + warp / split < pairs) {
    RowPair own = row_pair(first_pair + warp / split, half);
    if (own.second >= rows) own.second = own.first;
    const int64_t first = int64_t(warp % split * warp_size + lane) * Rows::step;
    pair_sums(w, own, numbers, count, x, first, int64_t(split) * warp_size * Rows::step, sums);
  } else {
    wait_for_earlier();
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
#pragma unroll
    for (int n = 0; n < tokens; ++n) {
      float sum = sums[j][n];
      for (int offset = warp_size / 2; offset > 0; offset /= 2) sum += __shfl_down_sync(whole_warp, sum, offset);
      if (lane == 0) partial[warp][j][n] = sum;
    }
  }
  __syncthreads();
  const int slot = int(threadIdx.x) / tokens, n = int(threadIdx.x) % tokens;
  if (slot >= of_block || first_pair + slot >= pairs || n >= count) return;
  float a = 0, b = 0;
  for (int part = slot * split; part < (slot + 1) * split; ++part) a += partial[part][0][n], b += partial[part][1][n];
  finish(n, row_pair(first_pair + slot, half), a, b);
}

// y [tokens, rows] = the sums, with a bias [rows] or null.
template <class T>
struct PlainFinish {
  T* y;
  const T* bias;
  int64_t rows;
  void skip(int64_t tokens) { y += tokens * rows; }

  __device__ void put(int n, int64_t row, float sum) const {
    if (row < rows) y[n * rows + row] = narrow<T>(bias ? sum + widen(bias[row]) : sum);
  }
  __device__ void operator()(int n, RowPair pair, float a, float b) const {
    put(n, pair.first, a);
    put(n, pair.second, b);
  }
};

// y [tokens, half] = silu(a) b of sums, and of silu, rounded as tensors would be.
template <class T>
struct GatedFinish {
  T* y;
  int64_t half;
  void skip(int64_t tokens) { y += tokens * half; }

  __device__ void operator()(int n, RowPair pair, float a, float b) const {
    const float gate = widen(narrow<T>(a)), up = widen(narrow<T>(b));
    const float silu = widen(narrow<T>(gate / (1 + expf(-gate))));
    y[n * half + pair.first] = narrow<T>(silu * up);
  }
};

// y [tokens, rows], of heads of `width` rows, the first `turned` rows of which are turned by cosine and sine [tokens, width].
template <class T>
struct TurnedFinish {
  T* y;
  int64_t rows, width, turned;
  const float *cosine, *sine;
  void skip(int64_t tokens) { y += tokens * rows, cosine += tokens * width, sine += tokens * width; }

  __device__ void operator()(int n, RowPair pair, float a, float b) const {
    const int64_t low = n * width + pair.first % width, high = low + width / 2;
    const float x = widen(narrow<T>(a)), z = widen(narrow<T>(b));
    const bool turns = pair.first < turned;
    y[n * rows + pair.first] = narrow<T>(turns ? x * cosine[low] - z * sine[low] : x);
    y[n * rows + pair.second] = narrow<T>(turns ? z * cosine[high] + x * sine[high] : z);
  }
};

}  // namespace braid::kernels
