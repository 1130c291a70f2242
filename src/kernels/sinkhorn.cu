// SPDX-License-Identifier: Apache-2.0
// One thread per matrix: a model has one small matrix a layer, so a launch covers them all and is latency-bound. Entries
// and line sums live in registers and local memory; the backward recomputes the iterates.
#include "kernels/cuda_support.cuh"
#include "kernels/sinkhorn_cuda.h"

namespace braid::kernels {

namespace {

constexpr int most = 8;

template <class A>
struct Matrix {
  A m[most * most];
  int n;

  __device__ A& at(bool rows, int line, int i) { return rows ? m[line * n + i] : m[i * n + line]; }

  __device__ void normalise(bool rows, A* sums) {
    for (int line = 0; line < n; ++line) {
      A sum = 0;
      for (int i = 0; i < n; ++i) sum += at(rows, line, i);
      if (sums) sums[line] = sum;
      const A divisor = sum < A(1e-12) ? A(1e-12) : sum;
      for (int i = 0; i < n; ++i) at(rows, line, i) /= divisor;
    }
  }

  __device__ void undo(bool rows, const A* sums, Matrix& gradient) {
    for (int line = 0; line < n; ++line) {
      const bool clamped = sums[line] < A(1e-12);
      const A divisor = clamped ? A(1e-12) : sums[line];
      A dot = 0;
      for (int i = 0; i < n; ++i) dot += gradient.at(rows, line, i) * at(rows, line, i);
      for (int i = 0; i < n; ++i) {
        A& g = gradient.at(rows, line, i);
        g = (clamped ? g : g - dot) / divisor;
        at(rows, line, i) *= divisor;
      }
    }
  }
};

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }

template <class A>
__device__ void project(const SinkhornShape& shape, const A* logits, Matrix<A>& matrix, A* sums) {
  matrix.n = int(shape.streams);
  const int n = matrix.n;
  for (int i = 0; i < n * n; ++i) matrix.m[i] = exponential(logits[i]);
  const bool rows_first = shape.order == SinkhornOrder::row_then_column;
  for (int64_t k = 0; k < shape.iterations; ++k) {
    matrix.normalise(rows_first, sums ? sums + 2 * k * n : nullptr);
    matrix.normalise(!rows_first, sums ? sums + (2 * k + 1) * n : nullptr);
  }
}

template <class A>
__global__ void forward(SinkhornShape shape, const A* logits, A* H) {
  const int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= shape.matrices) return;
  const int64_t entries = shape.streams * shape.streams;
  Matrix<A> matrix;
  project<A>(shape, logits + index * entries, matrix, nullptr);
  for (int i = 0; i < entries; ++i) H[index * entries + i] = matrix.m[i];
}

// sums: [matrices, 2 iterations, streams] scratch.
template <class A>
__global__ void backward(SinkhornShape shape, const A* logits, const A* dH, A* dlogits, A* sums) {
  const int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= shape.matrices) return;
  const int64_t n = shape.streams, entries = n * n;
  A* my_sums = sums + index * 2 * shape.iterations * n;
  Matrix<A> value, gradient;
  project<A>(shape, logits + index * entries, value, my_sums);
  gradient.n = int(n);
  for (int i = 0; i < entries; ++i) gradient.m[i] = dH[index * entries + i];
  const bool rows_first = shape.order == SinkhornOrder::row_then_column;
  for (int64_t k = shape.iterations; k-- > 0;) {
    value.undo(!rows_first, my_sums + (2 * k + 1) * n, gradient);
    value.undo(rows_first, my_sums + 2 * k * n, gradient);
  }
  for (int i = 0; i < entries; ++i) {
    dlogits[index * entries + i] = gradient.m[i] * exponential(logits[index * entries + i]);
  }
}

constexpr int threads = 64;
unsigned grid(const SinkhornShape& shape) { return unsigned((shape.matrices + threads - 1) / threads); }

template <class A>
void run_backward(Launch launch, SinkhornShape shape, const void* logits, const void* dH, void* dlogits) {
  const Scratch<A> sums(shape.matrices * 2 * shape.iterations * shape.streams + 1, stream_of(launch));
  backward<A><<<grid(shape), threads, 0, stream_of(launch)>>>(shape, static_cast<const A*>(logits), static_cast<const A*>(dH),
                                                              static_cast<A*>(dlogits), sums.get());
  check_cuda(cudaGetLastError(), "sinkhorn backward");
}

}  // namespace

void sinkhorn_cuda(Launch launch, SinkhornShape shape, Element element, const void* logits, void* H) {
  if (element == Element::float64) {
    forward<double><<<grid(shape), threads, 0, stream_of(launch)>>>(shape, static_cast<const double*>(logits), static_cast<double*>(H));
  } else {
    forward<float><<<grid(shape), threads, 0, stream_of(launch)>>>(shape, static_cast<const float*>(logits), static_cast<float*>(H));
  }
  check_cuda(cudaGetLastError(), "sinkhorn");
}

void sinkhorn_backward_cuda(Launch launch, SinkhornShape shape, Element element, const void* logits, const void* dH,
                            void* dlogits) {
  if (element == Element::float64) return run_backward<double>(launch, shape, logits, dH, dlogits);
  run_backward<float>(launch, shape, logits, dH, dlogits);
}

}  // namespace braid::kernels
