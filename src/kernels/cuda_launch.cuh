// SPDX-License-Identifier: Apache-2.0
// Kernels that follow one another at once: from compute capability 9.0 on a kernel may be started while the one before it
// still runs (programmatic dependent launch, CUDA C++ Programming Guide), so that its weights are on their way already. Between
// two small kernels most of the time is that start.
//
// Such a kernel calls start_next() first, and before it touches anything but weights, wait_for_earlier(), in every block:
// that returns once all kernels before it have ended and what they wrote can be seen.
#pragma once

#include "kernels/cuda_support.cuh"

namespace braid::kernels {

__device__ __forceinline__ void start_next() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

__device__ __forceinline__ void wait_for_earlier() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

// The block's dynamic shared memory.
__device__ __forceinline__ double* dynamic_shared() {
  extern __shared__ double dynamic_shared_memory[];
  return dynamic_shared_memory;
}

// Whether the code that would run has the two calls above: also a GPU that has them may be running code for older ones.
template <auto kernel>
bool may_start_early() {
  int device = 0, major = 0;
  cudaFuncAttributes code;
  check_cuda(cudaGetDevice(&device), "the current device");
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "compute capability");
  check_cuda(cudaFuncGetAttributes(&code, reinterpret_cast<const void*>(kernel)), "attributes of a kernel");
  return major >= 9 && code.ptxVersion >= 90;
}

template <auto kernel, class... Given>
void launch_following(dim3 grid, int threads, size_t shared_bytes, cudaStream_t stream, const char* what, Given... given) {
  static const bool early = may_start_early<kernel>();
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(unsigned(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = early ? 1 : 0;
  check_cuda(cudaLaunchKernelEx(&config, kernel, given...), what);
}

}  // namespace braid::kernels
