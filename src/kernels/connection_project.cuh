// SPDX-License-Identifier: Apache-2.0
// q = vec(X') P and the sum of squares of X', the write of the sublayer before it on the way. What comes out are sums
// over slices of the columns, [slices, K rounded up + 1, M], the squares last; whoever reads them adds them in order,
// so that a token's result depends on nothing but the token.
#pragma once

#include "kernels/connection_mma.cuh"

namespace braid::kernels {

constexpr int slices = 4;
constexpr int token_warps = 4, column_warps = 2;  // of a block: 64 tokens
constexpr int project_threads = token_warps * column_warps * warp_size;

template <class T>
struct ProjectArrays {
  const T *X, *f;
  const float *H, *c;
  const Right* packed;  // pack_projection's
  T* X_out;
  float* sums;
};

// H and c of a lane's two tokens.
template <int S>
struct RowCoefficients {
  float H[2][S * S] = {}, c[2][S] = {};

  __device__ void load(const float* all_H, const float* all_c, const int64_t (&rows)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int i = 0; i < S * S; ++i) H[r][i] = all_H[rows[r] * S * S + i];
#pragma unroll
      for (int s = 0; s < S; ++s) c[r][s] = all_c[rows[r] * S + s];
    }
  }
};

// X'[s] of four columns, as it is stored.
template <int S, class T>
__device__ __forceinline__ void mixed(int s, const float* H, float c, const float (&x)[S][2][4], const float (&f)[4],
                                      int r, float (&out)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float sum = c * f[i];
#pragma unroll
    for (int t = 0; t < S; ++t) sum += H[s * S + t] * x[t][r][i];
    out[i] = widen(narrow<T>(sum));
  }
}

// What a lane has added up: of its two tokens.
template <int tiles>
struct ProjectSums {
  float q[tiles][4] = {}, squares[2] = {};

  template <bool exact>
  __device__ void add(const float (&x)[2][4], const Right* packed) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int i = 0; i < 4; ++i) squares[r] += x[r][i] * x[r][i];
    }
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      const Left<exact> a(x[0][2 * step], x[1][2 * step], x[0][2 * step + 1], x[1][2 * step + 1]);
#pragma unroll
      for (int tile = 0; tile < tiles; ++tile) {
        multiply_add(q[tile], a, packed[(step * tiles + tile) * warp_size]);
      }
    }
  }
};

// Adds those of the block's second half of warps to the first's and stores them.
template <int tiles>
__device__ void store_sums(ProjectSums<tiles>& sums, int64_t first, int64_t tokens, float* out) {
  constexpr int count = 4 * tiles + 2;
  __shared__ float other[token_warps][count][warp_size];
  static_assert(column_warps == 2, "one half is added to the other");
  const int lane = int(threadIdx.x) % warp_size, warp = int(threadIdx.x) / warp_size;
  const int g = lane / 4, t = lane % 4, tile_of_tokens = warp % token_warps;
  float values[count];
#pragma unroll
  for (int i = 0; i < 4 * tiles; ++i) values[i] = sums.q[i / 4][i % 4];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = sums.squares[r];
    sum += __shfl_xor_sync(whole_warp, sum, 1);
    sum += __shfl_xor_sync(whole_warp, sum, 2);
    values[4 * tiles + r] = sum;
  }
  if (warp >= token_warps) {
#pragma unroll
    for (int i = 0; i < count; ++i) other[tile_of_tokens][i][lane] = values[i];
  }
  __syncthreads();
  if (warp >= token_warps) return;
  float* const slice = out + int64_t(blockIdx.y) * (8 * tiles + 1) * tokens;
#pragma unroll
  for (int i = 0; i < count; ++i) {
    const bool is_square = i >= 4 * tiles;
    const int r = is_square ? i - 4 * tiles : i % 4 / 2;
    const int64_t token = first + g + 8 * r;
    const int column = is_square ? 8 * tiles : i / 4 * 8 + 2 * t + i % 2;
    if (token < tokens && (!is_square || t == 0)) {
      slice[column * tokens + token] = values[i] + other[tile_of_tokens][i][lane];
    }
  }
}

// blockIdx.x: 64 tokens; blockIdx.y: the slice. Lanes of tokens past the last compute the last one's and store nothing.
template <int S, int tiles, bool writes, class T>
__global__ void __launch_bounds__(project_threads, S < 8 ? 2 : 1)
    project_kernel(ConnectionShape shape, ProjectArrays<T> p) {
  constexpr bool exact = sizeof(T) == 2;
  const int lane = int(threadIdx.x) % warp_size, warp = int(threadIdx.x) / warp_size;
  const int64_t D = shape.width, first = (int64_t(blockIdx.x) * token_warps + warp % token_warps) * 16;
  const int64_t mine[2] = {first + lane / 4, first + lane / 4 + 8}, last = shape.tokens - 1;
  const int64_t rows[2] = {mine[0] < last ? mine[0] : last, mine[1] < last ? mine[1] : last};
  RowCoefficients<S> k;
  if constexpr (writes) k.load(p.H, p.c, rows);
  const int64_t chunks = D / chunk, per_slice = (chunks + slices - 1) / slices, begin = blockIdx.y * per_slice;
  const int64_t end = begin + per_slice < chunks ? begin + per_slice : chunks;
  ProjectSums<tiles> sums;
  for (int64_t j = begin + warp / token_warps; j < end; j += column_warps) {
    const int64_t d = j * chunk + lane % 4 * 4;
    float x[S][2][4], f[2][4] = {};
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int s = 0; s < S; ++s) load<4>(p.X + (rows[r] * S + s) * D + d, x[s][r]);
      if (writes) load<4>(p.f + rows[r] * D + d, f[r]);
    }
#pragma unroll
    for (int s = 0; s < S; ++s) {
      float seen[2][4];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if constexpr (writes) {
          mixed<S, T>(s, k.H[r], k.c[r][s], x, f[r], r, seen[r]);
          if (mine[r] <= last) store<4>(p.X_out + (rows[r] * S + s) * D + d, seen[r]);
        } else {
#pragma unroll
          for (int i = 0; i < 4; ++i) seen[r][i] = x[s][r][i];
        }
      }
      sums.template add<exact>(seen, p.packed + (s * chunks + j) * 2 * tiles * warp_size + lane);
    }
  }
  store_sums(sums, first, shape.tokens, p.sums);
}

constexpr int plain_threads = 128;

// Any width and type, one slice: a block a token. `rows` is K rounded up + 1.
template <class T, class A>
__global__ void __launch_bounds__(plain_threads)
    project_plain_kernel(ConnectionShape shape, int K, int rows, const T* X, const A* P, A* sums) {
  __shared__ A shared[plain_threads / warp_size * 8];
  const int64_t E = shape.streams * shape.width, token = blockIdx.x;
  const T* const x = X + token * E;
  for (int first = 0; first < K; first += 8) {
    A q[8] = {};
    for (int64_t e = threadIdx.x; e < E; e += plain_threads) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        if (first + i < K) q[i] += widen(x[e]) * P[e * K + first + i];
      }
    }
    block_sums<plain_threads, 8>(q, shared, [&](int i, A total) {
      if (first + i < K) sums[int64_t(first + i) * shape.tokens + token] = total;
    });
  }
  A squares[1] = {};
  for (int64_t e = threadIdx.x; e < E; e += plain_threads) squares[0] += widen(x[e]) * widen(x[e]);
  block_sums<plain_threads, 1>(squares, shared,
                               [&](int, A total) { sums[int64_t(rows - 1) * shape.tokens + token] = total; });
}

}  // namespace braid::kernels
