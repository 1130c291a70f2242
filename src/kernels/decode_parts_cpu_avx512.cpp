// SPDX-License-Identifier: Apache-2.0
#define BRAID_LEVEL level_avx512
#include "kernels/decode_parts_cpu.inl"
