// SPDX-License-Identifier: Apache-2.0
// Decoding of NF4 on GPUs, shared by the kernels that read it. Roundings are spelt out: the compiler would join products
// and sums.
#pragma once

#include "kernels/cuda_support.cuh"
#include "kernels/nf4.h"

namespace braid::kernels {

static __constant__ float nf4_number[16] = {
    nf4_values[0], nf4_values[1], nf4_values[2],  nf4_values[3],  nf4_values[4],  nf4_values[5],  nf4_values[6],
    nf4_values[7], nf4_values[8], nf4_values[9],  nf4_values[10], nf4_values[11], nf4_values[12], nf4_values[13],
    nf4_values[14], nf4_values[15]};

__device__ __forceinline__ float block_absmax(const Nf4Scales& scales, int64_t block) {
  if (!scales.codes) return scales.absmax[block];
  const float number = __ldg(scales.map + scales.codes[block]);
  return __fadd_rn(__fmul_rn(number, scales.absmax[block / nf4_nested_block]), scales.offset);
}

// The code of the flat element `at`.
__device__ __forceinline__ unsigned nf4_code(const uint8_t* packed, int64_t at) {
  const unsigned byte = packed[at / 2];
  return at % 2 ? byte & 15u : byte >> 4;
}

}  // namespace braid::kernels
