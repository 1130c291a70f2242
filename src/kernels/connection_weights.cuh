// SPDX-License-Identifier: Apache-2.0
// dP += X'^T (r dy), another skinny product: long in tokens. Blocks take ranges of tokens, whose sums are added in
// order.
#pragma once

#include "kernels/connection_mma.cuh"

namespace braid::kernels {

constexpr int weight_warps = 8, weight_threads = weight_warps * warp_size;
constexpr int weight_columns = 32;  // of all S D, of a block

struct TokenRanges {
  int64_t count, each;  // ranges, tokens of one

  // Enough blocks for any device, of at least 256 tokens; the number depends on the shape alone.
  explicit TokenRanges(const ConnectionShape& shape) {
    const int64_t columns = shape.streams * shape.width / weight_columns, tokens = shape.tokens;
    const int64_t wanted = columns > 0 && columns < 512 ? 512 / columns : 1, most = (tokens + 255) / 256;
    count = wanted < most ? wanted : most;
    if (count < 1) count = 1;
    const int64_t share = (tokens + count - 1) / count, step = 8 * weight_warps;
    each = (share + step - 1) / step * step;
  }
};

// Four neighbouring numbers of a token's streams, zeros past the last token.
template <class T>
__device__ __forceinline__ void load_or_zero(const T* X, int64_t token, int64_t end, int64_t E, int64_t e,
                                             float (&x)[4]) {
  if (token < end) return load<4>(X + token * E + e, x);
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = 0;
}

// blockIdx.x: columns; blockIdx.y: the range. Warps take eight tokens in turn, lanes four columns 4g to 4g + 3 of two
// tokens. partial [ranges, S D, K].
template <int tiles, class T>
__global__ void __launch_bounds__(weight_threads) weight_kernel(int64_t tokens, int64_t E, int K, int64_t each,
                                                                const T* X, const float* d_projected, float* partial) {
  constexpr bool exact = sizeof(T) == 2;
  __shared__ float of_warps[weight_warps][4][warp_size];
  const int lane = int(threadIdx.x) % warp_size, warp = int(threadIdx.x) / warp_size, g = lane / 4, t = lane % 4;
  const int64_t e = int64_t(blockIdx.x) * weight_columns + 4 * g, begin = blockIdx.y * each;
  const int64_t end = begin + each < tokens ? begin + each : tokens;
  float sums[2][tiles][4] = {};
  for (int64_t first = begin + 8 * warp; first < end; first += 8 * weight_warps) {
    float x[2][4];
    load_or_zero(X, first + t, end, E, e, x[0]);
    load_or_zero(X, first + t + 4, end, E, e, x[1]);
    const Left<exact> a[2] = {Left<exact>(x[0][0], x[0][1], x[1][0], x[1][1]),
                              Left<exact>(x[0][2], x[0][3], x[1][2], x[1][3])};
#pragma unroll
    for (int tile = 0; tile < tiles; ++tile) {
      const float* const dy = d_projected + (first + t) * 8 * tiles + 8 * tile + g;
      const Right b = right_of(first + t < end ? dy[0] : 0, first + t + 4 < end ? dy[4 * 8 * tiles] : 0);
      multiply_add(sums[0][tile], a[0], b);
      multiply_add(sums[1][tile], a[1], b);
    }
  }
  // Warps in order; thread q puts number q / 32 of lane q % 32.
  const int number = int(threadIdx.x) / warp_size;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int tile = 0; tile < tiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) of_warps[warp][i][lane] = sums[half][tile][i];
      __syncthreads();
      const int k = 8 * tile + 2 * t + number % 2;
      if (number < 4 && k < K) {
        float sum = 0;
        for (int w = 0; w < weight_warps; ++w) sum += of_warps[w][number][lane];
        partial[(blockIdx.y * E + e + 2 * half + number / 2) * K + k] = sum;
      }
      __syncthreads();
    }
  }
}

constexpr int add_weight_threads = 256;

inline __global__ void __launch_bounds__(add_weight_threads)
    add_weights_kernel(int64_t count, int64_t ranges, const float* partial, float* dP) {
  const int64_t i = int64_t(blockIdx.x) * add_weight_threads + threadIdx.x;
  if (i >= count) return;
  float sum = 0;
  for (int64_t range = 0; range < ranges; ++range) sum += partial[range * count + i];
  dP[i] += sum;
}

// Any width and type: a thread an entry of dP.
template <class T, class A>
__global__ void __launch_bounds__(add_weight_threads)
    weight_plain_kernel(int64_t tokens, int64_t E, int K, int padded, const T* X, const A* d_projected, A* dP) {
  const int64_t i = int64_t(blockIdx.x) * add_weight_threads + threadIdx.x;
  if (i >= E * K) return;
  const int64_t e = i / K;
  A sum = 0;
  for (int64_t token = 0; token < tokens; ++token) sum += widen(X[token * E + e]) * d_projected[token * padded + i % K];
  dP[i] += sum;
}

}  // namespace braid::kernels
