// SPDX-License-Identifier: Apache-2.0
// The most memory that a stretch of work takes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace braid {

// What is held on the device now [bytes]; from here on the peak counts. CUDA: the allocator's; CPU: the resident set.
// Where the system does not let a process forget its peak (some containers) it is the peak since the process began.
int64_t start_memory_watch(const at::Device& device);
int64_t watched_peak_bytes(const at::Device& device);

}  // namespace braid
