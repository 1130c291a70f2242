// SPDX-License-Identifier: Apache-2.0
// Backward through the streams. With G the whole gradient of X',
//   G[s] = dX'[s] + w[s] dm + (r dy) P[s]' - along X'[s]
// the write's are dX[t] = sum_s H[s,t] G[s], df = sum_s c[s] G[s], dH[s,t] = G[s].X[t], dc[s] = G[s].f, taken while G
// is in registers. Nothing written: dX = G. With HC r dy and along are a stream's own (N = S norms, else 1), and all
// streams have one P.
#pragma once

#include "kernels/connection_mma.cuh"

namespace braid::kernels {

constexpr int gradient_warps = 4, gradient_threads = gradient_warps * warp_size;  // of 16 tokens

template <class T, class A>
struct GradientArrays {
  const T *X, *f;  // before the write
  const T *X_out, *dX_out, *dm;
  const A *H, *c;  // of the write
  const A *read, *d_projected, *along;
  const A* projection;  // the plain kernel's
  const Right* packed;  // pack_transposed's
  T *dX, *df;
  A *dH, *dc;
};

// What sixteen tokens are mixed with. Rows are padded so that eight tokens' numbers lie in different banks.
template <int S, int N>
struct TokenCoefficientsShared {
  float H[16][S * S + 4], c[16][S + 1], w[16][S + 1], along[16][N];

  template <class T>
  __device__ void load(const GradientArrays<T, float>& p, int64_t first, int64_t tokens) {
    for (int i = int(threadIdx.x); i < 16 * S * S; i += gradient_threads) {
      const int row = i / (S * S);
      const int64_t token = first + row < tokens ? first + row : tokens - 1;
      if (p.H) H[row][i % (S * S)] = p.H[token * S * S + i % (S * S)];
    }
    for (int i = int(threadIdx.x); i < 16 * S; i += gradient_threads) {
      const int row = i / S;
      const int64_t token = first + row < tokens ? first + row : tokens - 1;
      if (p.c) c[row][i % S] = p.c[token * S + i % S];
      w[row][i % S] = p.read[token * S + i % S];
      if (i % S < N) along[row][i % S] = p.along[token * N + i % S];
    }
  }
};

// Sums over the columns of a lane's two tokens: dH, then dc.
template <int S>
struct WriteSums {
  static constexpr int count = S * S + S;
  float values[2][count] = {};

  // Over the lanes of a row and the block's warps, in a fixed order.
  __device__ void store(float* dH, float* dc, int64_t first, int64_t tokens) {
    __shared__ float of_warps[gradient_warps][16][count];
    const int lane = int(threadIdx.x) % warp_size, warp = int(threadIdx.x) / warp_size;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int i = 0; i < count; ++i) {
        float sum = values[r][i];
        sum += __shfl_xor_sync(whole_warp, sum, 1);
        sum += __shfl_xor_sync(whole_warp, sum, 2);
        if (lane % 4 == 0) of_warps[warp][lane / 4 + 8 * r][i] = sum;
      }
    }
    __syncthreads();
    for (int j = int(threadIdx.x); j < 16 * count; j += gradient_threads) {
      const int row = j / count, i = j % count;
      if (first + row >= tokens) continue;
      float sum = 0;
      for (int w = 0; w < gradient_warps; ++w) sum += of_warps[w][row][i];
      if (i < S * S)
        dH[(first + row) * S * S + i] = sum;
      else
        dc[(first + row) * S + i - S * S] = sum;
    }
  }
};

// The write's part, of four columns of one of the lane's tokens.
template <int S, class T>
__device__ __forceinline__ void write_gradient(const GradientArrays<T, float>& p, const float* H, const float* c,
                                               const float (&G)[S][2][4], int r, int64_t token, int64_t D, int64_t d,
                                               bool stores, float (&sums)[S * S + S]) {
  float f[4], df[4] = {};
  load<4>(p.f + token * D + d, f);
#pragma unroll
  for (int s = 0; s < S; ++s) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      df[i] += c[s] * G[s][r][i];
      sums[S * S + s] += f[i] * G[s][r][i];
    }
  }
  if (stores) store<4>(p.df + token * D + d, df);
#pragma unroll
  for (int t = 0; t < S; ++t) {
    float x[4], dx[4] = {};
    load<4>(p.X + (token * S + t) * D + d, x);
#pragma unroll
    for (int s = 0; s < S; ++s) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        dx[i] += H[s * S + t] * G[s][r][i];
        sums[s * S + t] += x[i] * G[s][r][i];
      }
    }
    if (stores) store<4>(p.dX + (token * S + t) * D + d, dx);
  }
}

// Sixteen tokens a block, whose warps share out the columns. Lanes of tokens past the last compute the last one's and
// store nothing.
template <int S, int N, int steps, bool writes, class T>
__global__ void __launch_bounds__(gradient_threads, 3)
    gradient_kernel(ConnectionShape shape, GradientArrays<T, float> p) {
  __shared__ TokenCoefficientsShared<S, N> k;
  const int lane = int(threadIdx.x) % warp_size, warp = int(threadIdx.x) / warp_size, g = lane / 4, t = lane % 4;
  const int64_t D = shape.width, chunks = D / chunk, first = int64_t(blockIdx.x) * 16, last = shape.tokens - 1;
  const int64_t mine[2] = {first + g, first + g + 8};
  const int64_t rows[2] = {mine[0] < last ? mine[0] : last, mine[1] < last ? mine[1] : last};
  k.load(p, first, shape.tokens);
  __syncthreads();
  Left<false> dy[N][steps];
#pragma unroll
  for (int i = 0; i < N * steps; ++i) {
    const float* const upper = p.d_projected + (rows[0] * N * steps + i) * 8 + t;
    const float* const lower = p.d_projected + (rows[1] * N * steps + i) * 8 + t;
    dy[i / steps][i % steps] = Left<false>(upper[0], lower[0], upper[4], lower[4]);
  }
  WriteSums<S> sums;
  for (int64_t j = warp; j < chunks; j += gradient_warps) {
    const int64_t d = j * chunk + 4 * t;
    float dm[2][4], G[S][2][4];
    load<4>(p.dm + rows[0] * D + d, dm[0]);
    load<4>(p.dm + rows[1] * D + d, dm[1]);
#pragma unroll
    for (int s = 0; s < S; ++s) {
      constexpr bool shared_norm = N == 1;
      const int norm = shared_norm ? 0 : s, block = shared_norm ? s : 0;
      float through[2][4] = {};  // r dy P': of columns 0 and 1, 2 and 3 of both tokens
#pragma unroll
      for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
        for (int i = 0; i < steps; ++i) {
          multiply_add(through[tile], dy[norm][i],
                       p.packed[(((block * chunks + j) * 2 + tile) * steps + i) * warp_size + lane]);
        }
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int64_t at = (rows[r] * S + s) * D + d;
        float x[4], dx[4];
        load<4>(p.X_out + at, x);
        load<4>(p.dX_out + at, dx);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          G[s][r][i] =
              dx[i] + k.w[g + 8 * r][s] * dm[r][i] + through[i / 2][2 * r + i % 2] - k.along[g + 8 * r][norm] * x[i];
        }
        if (!writes && mine[r] <= last) store<4>(p.dX + at, G[s][r]);
      }
    }
    if constexpr (writes) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        write_gradient<S>(p, k.H[g + 8 * r], k.c[g + 8 * r], G, r, rows[r], D, d, mine[r] <= last, sums.values[r]);
      }
    }
  }
  if constexpr (writes) sums.store(p.dH, p.dc, first, shape.tokens);
}

constexpr int plain_gradient_threads = 128;

// Any width and type: a block a token, a thread a column. K logits a norm, `padded` is K rounded up.
template <int S, int N, class T, class A>
__global__ void __launch_bounds__(plain_gradient_threads)
    gradient_plain_kernel(ConnectionShape shape, int K, int padded, GradientArrays<T, A> p) {
  __shared__ A shared[plain_gradient_threads / warp_size * (S * S + S)];
  const int64_t D = shape.width, token = blockIdx.x;
  A sums[S * S + S] = {};
  for (int64_t d = threadIdx.x; d < D; d += plain_gradient_threads) {
    A G[S], df = 0;
    const A dm = widen(p.dm[token * D + d]);
    const A f = p.f ? widen(p.f[token * D + d]) : A(0);
#pragma unroll
    for (int s = 0; s < S; ++s) {
      const int64_t at = (token * S + s) * D + d, norm = token * N + (N == 1 ? 0 : s);
      const A *const dy = p.d_projected + norm * padded, *const P = p.projection + ((N == 1 ? s : 0) * D + d) * K;
      A through = 0;
      for (int i = 0; i < K; ++i) through += dy[i] * P[i];
      G[s] = widen(p.dX_out[at]) + p.read[token * S + s] * dm + through - p.along[norm] * widen(p.X_out[at]);
      if (!p.f) p.dX[at] = narrow<T>(G[s]);
    }
    if (!p.f) continue;
#pragma unroll
    for (int s = 0; s < S; ++s) {
      df += p.c[token * S + s] * G[s];
      sums[S * S + s] += f * G[s];
    }
    p.df[token * D + d] = narrow<T>(df);
#pragma unroll
    for (int t = 0; t < S; ++t) {
      const int64_t at = (token * S + t) * D + d;
      const A x = widen(p.X[at]);
      A dx = 0;
#pragma unroll
      for (int s = 0; s < S; ++s) {
        dx += p.H[(token * S + s) * S + t] * G[s];
        sums[s * S + t] += x * G[s];
      }
      p.dX[at] = narrow<T>(dx);
    }
  }
  if (!p.f) return;
  block_sums<plain_gradient_threads, S * S + S>(sums, shared, [&](int i, A total) {
    if (i < S * S)
      p.dH[token * S * S + i] = total;
    else
      p.dc[token * S + i - S * S] = total;
  });
}

}  // namespace braid::kernels
