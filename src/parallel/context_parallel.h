// SPDX-License-Identifier: Apache-2.0
// One model on several ranks that have different tokens of the same samples (context parallelism; Liu et al., "Ring
// Attention", arXiv 2310.01889). Put on from outside: only attention looks at other tokens, so that it alone changes
// (ring_attention.h), and positions are those of a rank's tokens. Weights are whole on each; their gradients are summed over
// these ranks as over those that share a batch.
#pragma once

#include "comm/communicator.h"
#include "nn/transformer.h"

namespace braid {

// From now on inputs of `model` are this rank's tokens of samples that all ranks of `comm` share (zigzag.h), each sample being one
// text. `comm` carries the device's memory and must outlive the model.
void join_context_parts(Transformer& model, Communicator& comm);

// For a pass of such a model over `tokens` tokens of each sample: their places, `ids` being like the tokens themselves; or, of
// samples with several texts, places in each token's own text, which begins at `starts` [B, T] of the sample, and attention that sees
// nothing else. `comm` must outlive the pass.
AttentionContext context_of_parts(int64_t tokens, const at::Tensor& starts, const at::TensorOptions& ids, Communicator& comm);

}  // namespace braid
