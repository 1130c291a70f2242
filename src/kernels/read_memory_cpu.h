// SPDX-License-Identifier: Apache-2.0
// The CPU kernels of read_memory.h, one per instruction set: narrow registers alone do not reach the memory's bandwidth.
#pragma once

#include <cstdint>

namespace braid::kernels {

using ReadMemory = uint64_t (*)(const void* data, int64_t bytes);

namespace level_base { extern const ReadMemory read_memory; }
namespace level_avx2 { extern const ReadMemory read_memory; }
namespace level_avx512 { extern const ReadMemory read_memory; }

}  // namespace braid::kernels
