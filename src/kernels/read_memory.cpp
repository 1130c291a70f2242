// SPDX-License-Identifier: Apache-2.0
#include "kernels/read_memory.h"

#include "kernels/cpu_level.h"
#include "kernels/read_memory_cpu.h"

namespace braid::kernels {

uint64_t read_memory(const void* data, int64_t bytes) {
  switch (chosen_cpu_level()) {
    case CpuLevel::avx512: return level_avx512::read_memory(data, bytes);
    case CpuLevel::avx2: return level_avx2::read_memory(data, bytes);
    default: return level_base::read_memory(data, bytes);
  }
}

}  // namespace braid::kernels
