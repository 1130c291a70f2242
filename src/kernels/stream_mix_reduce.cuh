// SPDX-License-Identifier: Apache-2.0
// The second half of the stream kernels' coefficient gradients: where each sum goes, and the kernel that adds what the
// blocks left in scratch memory, in a fixed order and in double, so that the result is the same from run to run.
#pragma once

#include "kernels/cuda_support.cuh"

namespace braid::kernels {

// Sums are numbered dw [N] for a read; streams from n on are padding.
template <int N, class A>
struct ReadGradients {
  static constexpr int count = N;
  A* w;
  int n;

  __device__ A* at(int i, int64_t row) const { return w && i < n ? w + row * n + i : nullptr; }
};

// dH [N, N], dc [N], dw_next [N] for a write.
template <int N, class A>
struct WriteGradients {
  static constexpr int count = N * N + 2 * N;
  A *H, *c, *w;
  int n;

  __device__ A* at(int i, int64_t row) const {
    if (i < N * N) return H && i / N < n && i % N < n ? H + (row * n + i / N) * n + i % N : nullptr;
    const int s = (i - N * N) % N;
    A* const p = i - N * N < N ? c : w;
    return p && s < n ? p + row * n + s : nullptr;
  }
};

constexpr int add_threads = 128;

// Block i adds sum i: partial [blocks, count].
template <class A, class Gradients>
__global__ void __launch_bounds__(add_threads) add_partials(int blocks, const A* partial, Gradients out) {
  __shared__ double shared[add_threads / warp_size];
  double mine[1] = {0};
  for (int block = int(threadIdx.x); block < blocks; block += add_threads) {
    mine[0] += double(partial[int64_t(block) * Gradients::count + blockIdx.x]);
  }
  block_sums<add_threads, 1>(mine, shared, [&](int, double total) {
    A* const to = out.at(int(blockIdx.x), 0);
    if (to) *to += A(total);
  });
}

// One set of sums per thread, moved out once a block (static coefficients) or once a token (per token).
template <int threads, class A, class Gradients>
struct BlockSums {
  static constexpr int count = Gradients::count;
  A values[count] = {};

  __device__ void to_partial(A* shared, A* partial) {
    block_sums<threads, count>(values, shared,
                               [&](int i, A total) { partial[int64_t(blockIdx.x) * count + i] = total; });
  }
  __device__ void to_row(A* shared, const Gradients& out, int64_t row) {
    block_sums<threads, count>(values, shared, [&](int i, A total) {
      A* const to = out.at(i, row);
      if (to) *to += total;
    });
#pragma unroll
    for (int i = 0; i < count; ++i) values[i] = 0;
  }
};

}  // namespace braid::kernels
