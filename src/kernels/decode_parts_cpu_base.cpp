// SPDX-License-Identifier: Apache-2.0
#define BRAID_LEVEL level_base
#include "kernels/decode_parts_cpu.inl"
