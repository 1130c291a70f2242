// SPDX-License-Identifier: Apache-2.0
// Which instruction set the CPU kernels use: the best this processor has, chosen at run time. BRAID_CPU_LEVEL=base, avx2
// or avx512 narrows it (tests compare the levels).
#pragma once

#include <string>

namespace braid::kernels {

enum class CpuLevel { base, avx2, avx512 };
CpuLevel best_cpu_level();     // of this processor
CpuLevel chosen_cpu_level();   // narrowed by the environment; Error for an unknown or unsupported name
const char* name_of(CpuLevel level);

// Whether products of bfloat16 pairs (AVX512-BF16) may be used; not where the environment names a level.
bool has_bf16_pairs();
// Likewise products of pairs of 16-bit whole numbers (AVX512-VNNI).
bool has_word_pairs();
// Likewise products of bfloat16 in tiles (AMX), which the system lets this process use.
bool has_tiles();

}  // namespace braid::kernels
