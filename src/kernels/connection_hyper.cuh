// SPDX-License-Identifier: Apache-2.0
// The gates of HC's form (connection.h), in which each stream has a norm and its own row of logits: what is projected
// are the streams of all tokens, [M S, D].
#pragma once

#include "kernels/connection_gates.cuh"

namespace braid::kernels {

template <int S>
struct HyperLogits {
  static constexpr int each = 2 + S, count = S * each, padded = 8 * tiles_of(each);
  // 0 for read and mixing, 1 for write.
  static __device__ constexpr int part(int k) { return k == 1 ? 1 : 0; }
  // Where a stream s of a token has its k-th mixing coefficient: H[k,s].
  static __device__ int64_t mix(int64_t token, int k, int s) { return (token * S + k) * S + s; }
};

__device__ __forceinline__ float hyperbolic_tangent(float x) { return tanhf(x); }
__device__ __forceinline__ double hyperbolic_tangent(double x) { return tanh(x); }

// A thread a stream of a token.
template <int S, class A>
__global__ void __launch_bounds__(gate_threads) hyper_gate_kernel(ConnectionShape shape, GateArrays<A> p) {
  using L = HyperLogits<S>;
  const int64_t rows = shape.tokens * S, row = int64_t(blockIdx.x) * gate_threads + threadIdx.x;
  if (row >= rows) return;
  const int64_t token = row / S;
  const int s = int(row % S);
  const auto summed = [&](int column) {
    A sum = 0;
    for (int slice = 0; slice < p.sum_slices; ++slice)
      sum += p.sums[(int64_t(slice) * (L::padded + 1) + column) * rows + row];
    return sum;
  };
  const A rstd = A(1) / root_of(summed(L::padded) / A(shape.width) + A(shape.epsilon));
  p.rstd[row] = rstd;
#pragma unroll
  for (int k = 0; k < L::each; ++k) {
    const A y = rstd * summed(k);
    p.projected[row * L::each + k] = y;
    const A raw = p.scale[L::part(k)] * hyperbolic_tangent(y) + p.bias[s * L::each + k];
    A* const to = k == 0 ? p.read + row : k == 1 ? p.write + row : p.mix + L::mix(token, k - 2, s);
    *to = raw;
  }
}

// A thread a token. d_projected [M S, 2 + S rounded up], along [M S].
template <int S, class A>
__global__ void __launch_bounds__(gate_threads)
    hyper_gate_backward_kernel(ConnectionShape shape, GateGradientArrays<A> p) {
  using L = HyperLogits<S>;
  constexpr int sums_of_token = L::count + 2;
  __shared__ A shared[gate_threads / warp_size * sums_of_token];
  const int64_t token = int64_t(blockIdx.x) * gate_threads + threadIdx.x;
  A sums[sums_of_token] = {};  // the first K are the gradient of raw
  if (token < shape.tokens) {
#pragma unroll
    for (int s = 0; s < S; ++s) {
      const int64_t row = token * S + s;
      const A rstd = p.rstd[row];
      A along = 0;
#pragma unroll
      for (int k = 0; k < L::padded; ++k) {
        A dy = 0;
        if (k < L::each) {
          const A y = p.projected[row * L::each + k], t = hyperbolic_tangent(y);
          const A d_raw = k == 0 ? p.d_read[row] : k == 1 ? p.d_write[row] : p.d_mix[L::mix(token, k - 2, s)];
          sums[s * L::each + k] = d_raw;
          sums[L::count + L::part(k)] += d_raw * t;
          dy = p.scale[L::part(k)] * d_raw * (1 - t * t);
          along += y * dy;
        }
        p.d_projected[row * L::padded + k] = rstd * dy;
      }
      p.along[row] = rstd * rstd * along / A(shape.width);
    }
  }
  block_sums<gate_threads, sums_of_token>(
      sums, shared, [&](int i, A total) { p.partial[int64_t(blockIdx.x) * sums_of_token + i] = total; });
}

}  // namespace braid::kernels
