// SPDX-License-Identifier: Apache-2.0
// Sums into wider numbers on CPUs, in one pass over memory and in an order that does not depend on the number of threads.
// PyTorch's CPU operators first copy such operands into the wider type. On GPUs its own do without, so these have no
// CUDA twins.
#pragma once

#include <cstdint>

#include "kernels/launch.h"

namespace braid::kernels {

// Below, sums are float32 (float64 for float64) and x is of `element`.

// sum[i] += x[i]
void add_to(int64_t count, Element element, const void* x, void* sum);

// sum[j] += x[0, j] + … + x[rows - 1, j]; x [rows, width].
void add_column_sums(int64_t rows, int64_t width, Element element, const void* x, void* sum);

// x[0]^2 + … in float64, so that no square of a float32 overflows.
double sum_of_squares(int64_t count, Element element, const void* x);

}  // namespace braid::kernels
