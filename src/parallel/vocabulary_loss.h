// SPDX-License-Identifier: Apache-2.0
// cross_entropy (nn/loss.h) of logits whose columns are spread over ranks: what they tell each other of a row is its
// largest logit, its sum of exponentials, its target's logit and whether another stands before it, never the logits
// (Shoeybi et al., arXiv 1909.08053, section 3).
#pragma once

#include "comm/communicator.h"
#include "nn/loss.h"

namespace braid {

// The columns that a rank holds of a vocabulary.
struct VocabularyPart {
  int64_t first = 0, vocabulary = 0;  // its first token, and all tokens of all ranks
};

// logits [N, columns here]; targets, scale, totals and what is returned as in cross_entropy, on every rank the same. The
// loss of a target outside the vocabulary is NaN. Collective in forward.
at::Tensor vocabulary_cross_entropy(const at::Tensor& logits, VocabularyPart part, const at::Tensor& targets, double scale,
                                    LossTotals& totals, Communicator& comm);

}  // namespace braid
