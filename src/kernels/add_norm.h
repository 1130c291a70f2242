// SPDX-License-Identifier: Apache-2.0
// A sublayer's output joins the residual stream and the sum is normalised, in one pass over memory:
//   u = x + f,  y = (u - mean) rstd weight + bias    (layer norm, Ba et al., arXiv 1607.06450)
//               y = u rstd weight                    (RMS norm, Zhang and Sennrich, arXiv 1910.07467; bias null)
// M rows of width D. x and u are the residual stream, in float32 (float64 for float64); f and y are of `element`, what
// matrix products read. Statistics and sums are float32 (float64).
#pragma once

#include <cstdint>

#include "kernels/launch.h"

namespace braid::kernels {

struct NormShape {
  int64_t rows, width;
  double epsilon;
};

// Rows too large for fp32 squares come out as bias, or NaN where the square of their mean is too large as well: that is
// how PyTorch's float32 kernels end, and what made networks whose signal doubles per layer fail at fixed depths.
// weight and bias [D]; mean and rstd [M] (mean is left alone for RMS norm). f null: u is x and is not written.
void add_norm(Launch, NormShape, Element, const void* x, const void* f, const void* weight, const void* bias, void* u,
              void* y, void* mean, void* rstd);

// The same on a CPU by the calling thread alone, which may be one of several in a parallel region.
void add_norm_alone(NormShape, Element, const void* x, const void* f, const void* weight, const void* bias, void* u, void* y,
                    void* mean, void* rstd);

// dx = du + the norm's gradient of dy; df, where not null, is the same in `element`. du may be null. mean null: RMS
// norm. dweight and dbias are added to, in an order that does not depend on the number of threads; null: not wanted.
void add_norm_backward(Launch, NormShape, Element, const void* u, const void* weight, const void* mean,
                       const void* rstd, const void* dy, const void* du, void* dx, void* df, void* dweight, void* dbias);

}  // namespace braid::kernels
