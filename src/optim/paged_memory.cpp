// SPDX-License-Identifier: Apache-2.0
#include "optim/paged_memory.h"

#include "base/error.h"
#include "nn/precompiled.h"
#if BRAID_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>
#endif

namespace braid {

#if BRAID_CUDA

namespace {

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw Error(str(what, ": ", cudaGetErrorString(status)));
}

// Without it (some drivers of Windows) pages cannot be asked for.
bool can_prefetch(int device) {
  int concurrent = 0;
  check(cudaDeviceGetAttribute(&concurrent, cudaDevAttrConcurrentManagedAccess, device), "managed memory");
  return concurrent != 0;
}

}  // namespace

at::Tensor paged_zeros(int64_t bytes, const at::Device& gpu) {
  const c10::cuda::CUDAGuard guard(gpu);
  void* memory = nullptr;
  const size_t size = bytes > 0 ? size_t(bytes) : 1;
  check(cudaMallocManaged(&memory, size), "paged memory for the optimiser");
  const auto options = at::TensorOptions().dtype(at::kByte).device(gpu);
  at::Tensor tensor = at::from_blob(memory, {bytes}, [](void* p) { cudaFree(p); }, options);
  return tensor.zero_();
}

void prefetch(const at::Tensor& part) {
  const int device = part.device().index();
  if (part.numel() == 0 || !can_prefetch(device)) return;
  const c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool(false, part.device().index());
  const cudaMemLocation place{cudaMemLocationTypeDevice, device};
  check(cudaMemPrefetchAsync(part.const_data_ptr(), part.nbytes(), place, 0, stream.stream()), "prefetch of paged memory");
}

#else

at::Tensor paged_zeros(int64_t, const at::Device&) { throw Error("this braid was built without CUDA (BRAID_CUDA=OFF)"); }
void prefetch(const at::Tensor&) {}

#endif

}  // namespace braid
