// SPDX-License-Identifier: Apache-2.0
// Doubly stochastic matrices of unconstrained numbers, differentiable, for many tokens at once. In the type of the input,
// fp32 or double.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace braid {

// logits [N, S, S] to matrices of the same shape: `iterations` times columns, then rows of exp(logits) are normalised, so
// that rows sum to 1 and columns nearly do (Sinkhorn and Knopp; mHC, arXiv 2512.24880, equation 9).
at::Tensor doubly_stochastic(const at::Tensor& logits, int64_t iterations);

// logits [N, S!] to [N, S, S]: the sum of all permutation matrices weighted by softmax(logits), which is doubly stochastic
// to rounding and reaches every such matrix (Birkhoff; mhc-lite, arXiv 2601.05732). Permutations are in lexicographic order,
// the identity first; p has its ones at [i, p(i)].
at::Tensor mix_of_permutations(const at::Tensor& logits, int64_t streams);
int64_t permutations_of(int64_t streams);  // S!

}  // namespace braid
