// SPDX-License-Identifier: Apache-2.0
#include "nn/device_memory.h"

#include <malloc.h>

#include <cstring>
#include <fstream>
#include <limits>
#include <new>
#include <string>

#include "base/clock.h"
#include "nn/precompiled.h"
#if BRAID_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime.h>
#endif

namespace braid {

namespace {

// A line "NAME:  123 kB" of /proc/self/status.
int64_t status_bytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word; status.ignore(std::numeric_limits<std::streamsize>::max(), '\n')) {
    int64_t kibibytes = 0;
    if (word == name && status >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

}  // namespace

int64_t peak_memory_bytes(const at::Device& device) {
#if BRAID_CUDA
  if (device.is_cuda()) {
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device.index());
    return stats.allocated_bytes[0].peak;
  }
#endif
  return peak_resident_bytes();
}

int64_t free_memory_bytes(const at::Device& device) {
#if BRAID_CUDA
  size_t free = 0, total = 0;
  if (device.is_cuda() && cudaMemGetInfo(&free, &total) == cudaSuccess) return static_cast<int64_t>(free);
#endif
  return available_host_memory_bytes();
}

int64_t start_memory_watch(const at::Device& device) {
#if BRAID_CUDA
  if (device.is_cuda()) {
    c10::cuda::CUDACachingAllocator::resetPeakStats(device.index());
    return c10::cuda::CUDACachingAllocator::getDeviceStats(device.index()).allocated_bytes[0].current;
  }
#endif
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";  // the resident set's peak begins anew (proc(5))
  return status_bytes("VmRSS:");
}

int64_t watched_peak_bytes(const at::Device& device) {
  return device.is_cuda() ? peak_memory_bytes(device) : status_bytes("VmHWM:");
}

bool is_out_of_memory(const std::exception& error) {
  return dynamic_cast<const std::bad_alloc*>(&error) || dynamic_cast<const c10::OutOfMemoryError*>(&error) ||
         std::strstr(error.what(), "can't allocate memory") || std::strstr(error.what(), "ALLOC_FAILED") ||
         std::strstr(error.what(), "out of memory");
}

}  // namespace braid
