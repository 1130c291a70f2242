// SPDX-License-Identifier: Apache-2.0
// One model on several ranks that see the same samples (tensor parallelism; Shoeybi et al., "Megatron-LM", arXiv
// 1909.08053, section 3). Each rank builds a narrower model: as wide along the residual, with some heads, a part of the
// MLP and of the vocabulary. Put on from outside: what its weights are of the whole model's, and the exchanges between
// ranks. Norms, what is added behind a row-cut product, positions and connections are whole on each rank, with equal
// gradients.
#pragma once

#include <cstdint>

#include "comm/communicator.h"
#include "nn/transformer.h"

namespace braid {

// UsageError: heads, key and value heads, MLP or vocabulary that cannot be cut for so many ranks.
void check_tensor_cut(const ModelConfig& whole, int64_t ranks);

// The model that one of so many ranks builds; `whole` itself for one.
ModelConfig tensor_share(const ModelConfig& whole, int64_t rank, int64_t ranks);

// Makes `model`, which was built as tensor_share(whole, comm.rank(), comm.size()) and has no values yet, that rank's part
// of `whole`. `comm` carries the device's memory and must outlive the model.
void join_tensor_parts(Transformer& model, const ModelConfig& whole, Communicator& comm);

}  // namespace braid
