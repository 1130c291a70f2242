// SPDX-License-Identifier: Apache-2.0
#include "train/memory_watch.h"

#include <malloc.h>

#include <fstream>
#include <limits>
#include <string>

#include "nn/precompiled.h"
#include "train/memory.h"
#if BRAID_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
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

}  // namespace braid
