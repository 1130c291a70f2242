// SPDX-License-Identifier: Apache-2.0
#define BRAID_LEVEL level_amx
#define BRAID_TILES
#include "kernels/paged_attention_cpu.inl"
