// SPDX-License-Identifier: Apache-2.0
// Reads memory as fast as the CPU can, and nothing else: what bandwidth shares are shares of.
#pragma once

#include <cstdint>

namespace braid::kernels {

// All 64-bit words combined by exclusive or, by all threads. `data` is aligned to 64 bytes, `bytes` a multiple of them.
uint64_t read_memory(const void* data, int64_t bytes);

}  // namespace braid::kernels
