// SPDX-License-Identifier: Apache-2.0
// From projected tokens to what they are read, written and mixed with, and back: a thread a token. Sinkhorn's own
// iterations are sinkhorn.h's kernels, between these.
#pragma once

#include "kernels/connection_mma.cuh"

namespace braid::kernels {

constexpr int gate_threads = 128;

template <int n>
constexpr int permutations_of = n* permutations_of<n - 1>;
template <>
inline constexpr int permutations_of<0> = 1;

// Where permutation `index` of S in lexicographic order sends `row`.
template <int S>
__device__ __forceinline__ constexpr int permuted(int index, int row) {
  int place = permutations_of<S - 1>, taken = 0, sent = 0;
  for (int i = 0; i <= row; ++i) {
    int rank = index / place;  // among those not taken yet
    index %= place;
    if (i < S - 1) place /= S - 1 - i;
    for (sent = 0; sent < S; ++sent) {
      if (taken >> sent & 1) continue;
      if (rank-- == 0) break;
    }
    taken |= 1 << sent;
  }
  return sent;
}

template <int S, Mixing mixing>
struct Logits {
  static constexpr int mix = mixing == Mixing::permutations ? permutations_of<S> : S * S;
  static constexpr int count = 2 * S + mix, padded = 8 * tiles_of(count);
  // 0 for read, 1 for write, 2 for mixing.
  static __device__ constexpr int part(int k) { return k < S ? 0 : k < 2 * S ? 1 : 2; }
};

__device__ __forceinline__ float exponential_of(float x) { return expf(x); }
__device__ __forceinline__ double exponential_of(double x) { return exp(x); }
__device__ __forceinline__ float root_of(float x) { return sqrtf(x); }
__device__ __forceinline__ double root_of(double x) { return sqrt(x); }
template <class A>
__device__ __forceinline__ A sigmoid(A x) {
  return A(1) / (A(1) + exponential_of(-x));
}

template <class A>
struct GateArrays {
  const A *sums, *scale, *bias;  // sums: project_kernel's
  int sum_slices;
  A *projected, *rstd, *read, *write, *mix, *logits;  // logits [M, S, S]: what Sinkhorn projects
};

// Sinkhorn's logits, the largest of each column taken from it.
template <int S, class A>
__device__ void store_shifted(const A* raw, A* logits) {
#pragma unroll
  for (int column = 0; column < S; ++column) {
    A largest = raw[column];
#pragma unroll
    for (int row = 1; row < S; ++row) largest = raw[row * S + column] > largest ? raw[row * S + column] : largest;
#pragma unroll
    for (int row = 0; row < S; ++row) logits[row * S + column] = raw[row * S + column] - largest;
  }
}

// raw [S!] becomes its softmax.
template <int count, class A>
__device__ void softmax(A* raw) {
  A largest = raw[0], sum = 0;
#pragma unroll
  for (int i = 1; i < count; ++i) largest = raw[i] > largest ? raw[i] : largest;
#pragma unroll
  for (int i = 0; i < count; ++i) {
    raw[i] = exponential_of(raw[i] - largest);
    sum += raw[i];
  }
#pragma unroll
  for (int i = 0; i < count; ++i) raw[i] /= sum;
}

template <int S, Mixing mixing, class A>
__global__ void __launch_bounds__(gate_threads) gate_kernel(ConnectionShape shape, GateArrays<A> p) {
  using L = Logits<S, mixing>;
  const int64_t M = shape.tokens, token = int64_t(blockIdx.x) * gate_threads + threadIdx.x;
  if (token >= M) return;
  const auto summed = [&](int column) {
    A sum = 0;
    for (int slice = 0; slice < p.sum_slices; ++slice)
      sum += p.sums[(int64_t(slice) * (L::padded + 1) + column) * M + token];
    return sum;
  };
  const A rstd = A(1) / root_of(summed(L::padded) / A(S * shape.width) + A(shape.epsilon));
  p.rstd[token] = rstd;
  A raw[L::count];
#pragma unroll
  for (int k = 0; k < L::count; ++k) {
    const A y = rstd * summed(k);
    p.projected[token * L::count + k] = y;
    raw[k] = p.scale[L::part(k)] * y + p.bias[k];
  }
#pragma unroll
  for (int s = 0; s < S; ++s) {
    p.read[token * S + s] = sigmoid(raw[s]);
    p.write[token * S + s] = 2 * sigmoid(raw[S + s]);
  }
  if constexpr (mixing == Mixing::sinkhorn) {
    store_shifted<S>(raw + 2 * S, p.logits + token * S * S);
  } else {
    softmax<L::mix>(raw + 2 * S);
    A H[S * S] = {};
#pragma unroll
    for (int i = 0; i < L::mix; ++i) {
#pragma unroll
      for (int row = 0; row < S; ++row) H[row * S + permuted<S>(i, row)] += raw[2 * S + i];
    }
#pragma unroll
    for (int i = 0; i < S * S; ++i) p.mix[token * S * S + i] = H[i];
  }
}

// Sinkhorn's logits once more, from y.
template <int S, class A>
__global__ void __launch_bounds__(gate_threads)
    logits_kernel(int64_t tokens, const A* projected, const A* scale, const A* bias, A* logits) {
  using L = Logits<S, Mixing::sinkhorn>;
  const int64_t token = int64_t(blockIdx.x) * gate_threads + threadIdx.x;
  if (token >= tokens) return;
  A raw[S * S];
#pragma unroll
  for (int i = 0; i < S * S; ++i) raw[i] = scale[2] * projected[token * L::count + 2 * S + i] + bias[2 * S + i];
  store_shifted<S>(raw, logits + token * S * S);
}

template <class A>
struct GateGradientArrays {
  const A *projected, *rstd, *scale, *bias, *read, *write;
  const A *d_read, *d_write, *d_mix;  // d_mix: dH', or with Sinkhorn the gradient of its logits
  A *d_projected, *along;             // r dy [M, K rounded up], r^2 (y . dy) / (S D) [M]
  A* partial;                         // [blocks, K + 3]: sums of bias's and scale's
};

// The gradient of raw[2S .. K), all of a token's.
template <int S, Mixing mixing, class A>
__device__ void mixing_gradient(const GateGradientArrays<A>& p, int64_t token, const A* y, A* d_raw) {
  using L = Logits<S, mixing>;
  const A* const given = p.d_mix + token * S * S;
  if constexpr (mixing == Mixing::sinkhorn) {
#pragma unroll
    for (int i = 0; i < S * S; ++i) d_raw[i] = given[i];
  } else {
    A weight[L::mix], dot = 0;
#pragma unroll
    for (int i = 0; i < L::mix; ++i) weight[i] = p.scale[2] * y[2 * S + i] + p.bias[2 * S + i];
    softmax<L::mix>(weight);
#pragma unroll
    for (int i = 0; i < L::mix; ++i) {
      d_raw[i] = 0;
#pragma unroll
      for (int row = 0; row < S; ++row) d_raw[i] += given[row * S + permuted<S>(i, row)];
      dot += weight[i] * d_raw[i];
    }
#pragma unroll
    for (int i = 0; i < L::mix; ++i) d_raw[i] = weight[i] * (d_raw[i] - dot);
  }
}

template <int S, Mixing mixing, class A>
__global__ void __launch_bounds__(gate_threads) gate_backward_kernel(ConnectionShape shape, GateGradientArrays<A> p) {
  using L = Logits<S, mixing>;
  __shared__ A shared[gate_threads / warp_size * (L::count + 3)];
  const int64_t token = int64_t(blockIdx.x) * gate_threads + threadIdx.x;
  A sums[L::count + 3] = {};  // the first K are the gradient of raw
  if (token < shape.tokens) {
    A y[L::count], along = 0;
#pragma unroll
    for (int k = 0; k < L::count; ++k) y[k] = p.projected[token * L::count + k];
#pragma unroll
    for (int s = 0; s < S; ++s) {
      const A w = p.read[token * S + s], c = p.write[token * S + s];
      sums[s] = p.d_read[token * S + s] * w * (1 - w);
      sums[S + s] = p.d_write[token * S + s] * c * (1 - c / 2);
    }
    mixing_gradient<S, mixing>(p, token, y, sums + 2 * S);
    const A rstd = p.rstd[token];
#pragma unroll
    for (int k = 0; k < L::padded; ++k) {
      A dy = 0;
      if (k < L::count) {
        dy = p.scale[L::part(k)] * sums[k];
        along += y[k] * dy;
        sums[L::count + L::part(k)] += y[k] * sums[k];
      }
      p.d_projected[token * L::padded + k] = rstd * dy;
    }
    p.along[token] = rstd * rstd * along / A(S * shape.width);
  }
  block_sums<gate_threads, L::count + 3>(
      sums, shared, [&](int i, A total) { p.partial[int64_t(blockIdx.x) * (L::count + 3) + i] = total; });
}

// Where the blocks' sums go: add_partials of stream_mix_reduce.cuh.
template <int K, int scales, class A>
struct GateWeightGradients {
  static constexpr int count = K + scales;
  A *bias, *scale;
  __device__ A* at(int i, int64_t) const { return i < K ? bias + i : scale + (i - K); }
};

}  // namespace braid::kernels
