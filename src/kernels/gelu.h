// SPDX-License-Identifier: Apache-2.0
// GELU in its exact form (Hendrycks and Gimpel, arXiv 1606.08415): y = x P(x), P being the normal distribution function.
// The forward pass also gives the slope y' = P(x) + x p(x), since P and p come from one exponential: the backward pass
// is then one product, where x kept instead would need P and p again.
#pragma once

#include <cstdint>

#include "kernels/launch.h"

namespace braid::kernels {

// x, y and slope [count] of `element`; slope null: not wanted. Computed in float32 (float64 for float64).
void gelu(Launch, int64_t count, Element, const void* x, void* y, void* slope);

// dx = dy slope; dx may be dy.
void gelu_backward(Launch, int64_t count, Element, const void* dy, const void* slope, void* dx);

}  // namespace braid::kernels
