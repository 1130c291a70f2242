// SPDX-License-Identifier: Apache-2.0
// What the CUDA kernels share: wide loads and stores of the three element types, sums over a block, errors, scratch
// memory.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "kernels/launch.h"

namespace braid::kernels {

inline void check_cuda(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw Error(str(what, ": ", cudaGetErrorString(status)));
}

inline cudaStream_t stream_of(Launch launch) { return static_cast<cudaStream_t>(launch.stream); }

// Memory that lives as long as the work queued on the stream.
template <class T>
class Scratch {
 public:
  Scratch(int64_t count, cudaStream_t stream) : stream_(stream) {
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    check_cuda(cudaMallocAsync(reinterpret_cast<void**>(&data_), bytes, stream), "scratch memory of a kernel");
  }
  ~Scratch() { cudaFreeAsync(data_, stream_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* get() const { return data_; }

 private:
  T* data_ = nullptr;
  cudaStream_t stream_;
};

// What an element type is computed in.
template <class T>
struct Accumulate {
  using Type = float;
};
template <>
struct Accumulate<double> {
  using Type = double;
};

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ double widen(double x) { return x; }
__device__ __forceinline__ float widen(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T>
__device__ __forceinline__ T narrow(typename Accumulate<T>::Type x) { return x; }
template <>
__device__ __forceinline__ __nv_bfloat16 narrow<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }

// The machine word of a size in bytes: an access of W elements is one instruction.
template <size_t bytes>
struct Word;
template <>
struct Word<2> {
  using Type = unsigned short;
};
template <>
struct Word<4> {
  using Type = unsigned;
};
template <>
struct Word<8> {
  using Type = uint2;
};
template <>
struct Word<16> {
  using Type = uint4;
};

// W neighbouring elements; p is aligned to W elements.
template <int W, class T, class A>
__device__ __forceinline__ void load(const T* p, A (&values)[W]) {
  const auto word = *reinterpret_cast<const typename Word<W * sizeof(T)>::Type*>(p);
  T raw[W];
  memcpy(raw, &word, sizeof(word));
#pragma unroll
  for (int i = 0; i < W; ++i) values[i] = widen(raw[i]);
}

template <int W, class T, class A>
__device__ __forceinline__ void store(T* p, const A (&values)[W]) {
  T raw[W];
#pragma unroll
  for (int i = 0; i < W; ++i) raw[i] = narrow<T>(values[i]);
  typename Word<W * sizeof(T)>::Type word;
  memcpy(&word, raw, sizeof(word));
  *reinterpret_cast<typename Word<W * sizeof(T)>::Type*>(p) = word;
}

inline bool is_aligned(const void* p, size_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

constexpr int warp_size = 32;
constexpr unsigned whole_warp = 0xffffffffu;

// The number of this thread in its block, x fastest.
__device__ __forceinline__ int thread_number() { return int(threadIdx.y * blockDim.x + threadIdx.x); }

// Adds up each of `count` values over the block's `threads` threads in a fixed order; thread i hands total i to
// put(i, total). `shared` holds threads / 32 * count values. Leaves the block synchronised.
template <int threads, int count, class A, class Put>
__device__ __forceinline__ void block_sums(const A (&values)[count], A* shared, const Put& put) {
  static_assert(count <= threads && threads % warp_size == 0, "a thread for each sum");
  const int thread = thread_number(), warp = thread / warp_size;
#pragma unroll
  for (int i = 0; i < count; ++i) {
    A value = values[i];
    for (int offset = warp_size / 2; offset > 0; offset /= 2) value += __shfl_down_sync(whole_warp, value, offset);
    if (thread % warp_size == 0) shared[warp * count + i] = value;
  }
  __syncthreads();
  if (thread < count) {
    A total = 0;
    for (int w = 0; w < threads / warp_size; ++w) total += shared[w * count + thread];
    put(thread, total);
  }
  __syncthreads();
}

}  // namespace braid::kernels
