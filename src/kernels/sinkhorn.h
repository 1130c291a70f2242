// SPDX-License-Identifier: Apache-2.0
// Sinkhorn-Knopp projection of exp(A) towards the doubly stochastic matrices, `iterations` times, for N matrices
// [N, S, S] at once (mHC, arXiv 2512.24880 section 4.2; order and clamp of the poc form in docs/architecture.md).
// Each normalisation divides by max(sum, 1e-12); no max-subtraction and no temperature in the poc form.
// The backward recomputes the iterates instead of storing them. fp32, or float64 as the reference in tests.
#pragma once

#include <cstdint>

#include "kernels/launch.h"

namespace braid::kernels {

enum class SinkhornOrder { row_then_column, column_then_row };  // poc: row then column; the paper: column then row

struct SinkhornShape {
  int64_t matrices, streams, iterations;
  SinkhornOrder order = SinkhornOrder::row_then_column;
};

void sinkhorn(Launch, SinkhornShape, Element, const void* logits, void* H);
// dlogits is overwritten.
void sinkhorn_backward(Launch, SinkhornShape, Element, const void* logits, const void* dH, void* dlogits);

}  // namespace braid::kernels
