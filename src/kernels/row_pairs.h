// SPDX-License-Identifier: Apache-2.0
// How a matrix's rows are dealt out in a product of few tokens on GPUs (row_products.cuh): two at a time, since what comes
// after the product wants them so. A rotary embedding turns dimension i with i + d/2, a gate multiplies row i with i + F.
// Without either, neighbours are pairs. On the host too, where tests count the rows.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define BRAID_HOST_DEVICE __host__ __device__
#else
#define BRAID_HOST_DEVICE
#endif

namespace braid::kernels {

struct RowPair {
  int64_t first, second;
};

// Pair i of rows that lie in groups of 2 half, of which row c belongs to row c + half. With half 1 the last pair of an odd
// number of rows has a second one behind the last.
BRAID_HOST_DEVICE constexpr RowPair row_pair(int64_t i, int64_t half) {
  const int64_t first = i / half * 2 * half + i % half;
  return {first, first + half};
}

BRAID_HOST_DEVICE constexpr int64_t pairs_of(int64_t rows) { return (rows + 1) / 2; }

// How many warps share a pair's columns, of which a lane takes `step` at a time, twice at least: more where there are so few rows
// that a large GPU would not be busy. A matter of W alone, never of the number of tokens, whose bits would depend on it.
BRAID_HOST_DEVICE constexpr int warps_of_pair(int64_t rows, int64_t columns, int64_t step) {
  const int wanted = rows >= 8192 ? 1 : rows >= 4096 ? 2 : 4;
  int warps = 1;
  while (warps < wanted && 4 * warps * 32 * step <= columns) warps *= 2;
  return warps;
}

}  // namespace braid::kernels
