// SPDX-License-Identifier: Apache-2.0
// What memory this process holds on a device, and whether it ran out.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <exception>

namespace braid {

int64_t peak_memory_bytes(const at::Device& device);  // of this process: CUDA allocator's peak, or resident set on CPU
int64_t free_memory_bytes(const at::Device& device);  // on the device, or of the host within its cgroup

// What is held on the device now [bytes]; from here on the peak counts. CUDA: the allocator's; CPU: the resident set.
// Where the system does not let a process forget its peak (some containers) it is the peak since the process began.
int64_t start_memory_watch(const at::Device& device);
int64_t watched_peak_bytes(const at::Device& device);

// Whether an exception says that memory ran out: C++'s, LibTorch's of either device, or of a CUDA library.
bool is_out_of_memory(const std::exception& error);

}  // namespace braid
