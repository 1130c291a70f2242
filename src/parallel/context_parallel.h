// SPDX-License-Identifier: Apache-2.0
// One model on several ranks that have different tokens of the same samples (context parallelism; Liu et al., "Ring
// Attention", arXiv 2310.01889). Put on from outside: only attention looks at other tokens, so that it alone changes
// (ring_attention.h), and positions are those of a rank's tokens. Weights are whole on each; their gradients are summed over
// these ranks as over those that share a batch.
#pragma once

#include "comm/communicator.h"
#include "nn/transformer.h"

namespace braid {

// From now on inputs of `model` without position ids are this rank's tokens of samples that all ranks of `comm` share
// (zigzag.h). `comm` carries the device's memory and must outlive the model.
void join_context_parts(Transformer& model, Communicator& comm);

}  // namespace braid
