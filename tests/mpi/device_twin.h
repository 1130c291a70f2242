// SPDX-License-Identifier: Apache-2.0
// A copy of host memory on this rank's GPU where the back end is NCCL; nothing elsewhere.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"

#if BRAID_CUDA
#include <cuda_runtime.h>
#endif

namespace braid::test {

class DeviceTwin {
 public:
  explicit DeviceTwin(const std::string& backend) : used_(backend == "nccl") {}
#if BRAID_CUDA
  void write(const std::vector<char>& host) {
    if (!used_) return;
    void* memory = nullptr;
    require(cudaMalloc(&memory, host.size()), "cudaMalloc");
    memory_.reset(memory);
    require(cudaMemcpy(memory, host.data(), host.size(), cudaMemcpyHostToDevice), "to the device");
  }
  void read(std::vector<char>& host) {
    if (!used_) return;
    require(cudaDeviceSynchronize(), "collective");
    require(cudaMemcpy(host.data(), memory_.get(), host.size(), cudaMemcpyDeviceToHost), "from the device");
  }
  char* memory(std::vector<char>& host) { return used_ ? static_cast<char*>(memory_.get()) : host.data(); }

 private:
  static void require(cudaError_t status, const char* what) {
    if (status != cudaSuccess) throw Error(str(what, ": ", cudaGetErrorString(status)));
  }
  std::unique_ptr<void, cudaError_t (*)(void*)> memory_{nullptr, cudaFree};
#else
  void write(const std::vector<char>&) {}
  void read(std::vector<char>&) {}
  char* memory(std::vector<char>& host) { return host.data(); }

 private:
#endif
  bool used_;
};

}  // namespace braid::test
