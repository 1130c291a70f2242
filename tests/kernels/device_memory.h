// SPDX-License-Identifier: Apache-2.0
// One test body for both twins of a kernel: host arrays are copied to where the kernel runs and back. Without a device
// REQUIRE_DEVICE skips the test and says why.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/launch.h"

#if BRAID_CUDA
#include <cuda_runtime.h>
#endif

namespace braid::kernels::test {

// Why no device can be used; empty when one can.
inline std::string no_device() {
#if BRAID_CUDA
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) return str("no CUDA device: ", cudaGetErrorString(status));
  return count > 0 ? "" : "no CUDA device";
#else
  return "built without CUDA";
#endif
}

#define REQUIRE_DEVICE() \
  if (const std::string why = ::braid::kernels::test::no_device(); !why.empty()) GTEST_SKIP() << why

#if BRAID_CUDA
inline void require_success(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw Error(str(what, ": ", cudaGetErrorString(status)));
}
#endif

// A copy of a host vector in the memory that kernels at `place` use.
template <class T>
class Placed {
 public:
  Placed(Place place, const std::vector<T>& host) : place_(place), host_(host) {
#if BRAID_CUDA
    if (place == Place::cpu) return;
    require_success(cudaMalloc(&device_, bytes() + 1), "cudaMalloc");
    require_success(cudaMemcpy(device_, host_.data(), bytes(), cudaMemcpyHostToDevice), "cudaMemcpy");
#endif
  }
  ~Placed() {
#if BRAID_CUDA
    if (device_) cudaFree(device_);
#endif
  }
  Placed(const Placed&) = delete;
  Placed& operator=(const Placed&) = delete;

  T* data() { return place_ == Place::cpu ? host_.data() : static_cast<T*>(device_); }

  // The present values, once the device is done.
  const std::vector<T>& values() {
#if BRAID_CUDA
    if (place_ == Place::cuda) {
      require_success(cudaDeviceSynchronize(), "kernel");
      require_success(cudaMemcpy(host_.data(), device_, bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    }
#endif
    return host_;
  }

 private:
  size_t bytes() const { return host_.size() * sizeof(T); }

  Place place_;
  std::vector<T> host_;
  void* device_ = nullptr;
};

}  // namespace braid::kernels::test
