// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda_support.cuh"
#include "kernels/gelu_cuda.h"

namespace braid::kernels {

namespace {

constexpr int threads = 256;
constexpr int64_t most_blocks = 65535;

unsigned blocks_for(int64_t count) {
  const int64_t wanted = (count + threads - 1) / threads;
  return unsigned(wanted < most_blocks ? wanted : most_blocks);
}

__device__ float distribution(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }
__device__ double distribution(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }
__device__ float density(float x) { return 0.39894228040143268f * expf(-0.5f * x * x); }
__device__ double density(double x) { return 0.39894228040143267794 * exp(-0.5 * x * x); }

template <class T>
__global__ void __launch_bounds__(threads) forward_kernel(int64_t count, const T* x, T* y, T* slope) {
  const int64_t stride = int64_t(gridDim.x) * threads;
  for (int64_t i = int64_t(blockIdx.x) * threads + threadIdx.x; i < count; i += stride) {
    const auto v = widen(x[i]), p = distribution(v);
    y[i] = narrow<T>(v * p);
    if (slope) slope[i] = narrow<T>(p + v * density(v));
  }
}

template <class T>
__global__ void __launch_bounds__(threads) backward_kernel(int64_t count, const T* dy, const T* slope, T* dx) {
  const int64_t stride = int64_t(gridDim.x) * threads;
  for (int64_t i = int64_t(blockIdx.x) * threads + threadIdx.x; i < count; i += stride) {
    dx[i] = narrow<T>(widen(dy[i]) * widen(slope[i]));
  }
}

template <class T>
void forward_as(Launch launch, int64_t count, const void* x, void* y, void* slope) {
  forward_kernel<T><<<blocks_for(count), threads, 0, stream_of(launch)>>>(count, static_cast<const T*>(x),
                                                                          static_cast<T*>(y), static_cast<T*>(slope));
  check_cuda(cudaGetLastError(), "gelu");
}

template <class T>
void backward_as(Launch launch, int64_t count, const void* dy, const void* slope, void* dx) {
  backward_kernel<T><<<blocks_for(count), threads, 0, stream_of(launch)>>>(
      count, static_cast<const T*>(dy), static_cast<const T*>(slope), static_cast<T*>(dx));
  check_cuda(cudaGetLastError(), "gelu backward");
}

}  // namespace

void gelu_cuda(Launch launch, int64_t count, Element element, const void* x, void* y, void* slope) {
  switch (element) {
    case Element::float32: return forward_as<float>(launch, count, x, y, slope);
    case Element::bfloat16: return forward_as<__nv_bfloat16>(launch, count, x, y, slope);
    case Element::float64: return forward_as<double>(launch, count, x, y, slope);
  }
}

void gelu_backward_cuda(Launch launch, int64_t count, Element element, const void* dy, const void* slope, void* dx) {
  switch (element) {
    case Element::float32: return backward_as<float>(launch, count, dy, slope, dx);
    case Element::bfloat16: return backward_as<__nv_bfloat16>(launch, count, dy, slope, dx);
    case Element::float64: return backward_as<double>(launch, count, dy, slope, dx);
  }
}

}  // namespace braid::kernels
