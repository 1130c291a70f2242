// SPDX-License-Identifier: Apache-2.0
// One model on several ranks that see the same samples (tensor parallelism; Shoeybi et al., "Megatron-LM", arXiv
// 1909.08053, section 3). Each rank builds a narrower model: as wide along the residual, with some heads, a part of the
// MLP and of the vocabulary. Put on from outside: what its weights are of the whole model's, and the exchanges between
// ranks. Norms, what is added behind a row-cut product, positions and connections are whole on each rank, with equal
// gradients; or, with sequence parallelism (Korthikanti et al., arXiv 2205.05198, section 4.2), gradients of the rank's share of
// the tokens, which are summed at the end of a step.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "nn/transformer.h"

namespace braid {

// UsageError: heads, key and value heads, MLP or vocabulary that cannot be cut for so many ranks.
void check_tensor_cut(const ModelConfig& whole, int64_t ranks);

// The model that one of so many ranks builds; `whole` itself for one.
ModelConfig tensor_share(const ModelConfig& whole, int64_t rank, int64_t ranks);

// What tensor ranks have between layers that are cut: all tokens, or each an equal share of every sample's.
enum class TokensBetween { all, share };

// Makes `model`, which was built as tensor_share(whole, comm.rank(), comm.size()) and has no values yet, that rank's part
// of `whole`. `comm` carries the device's memory and must outlive the model.
void join_tensor_parts(Transformer& model, const ModelConfig& whole, Communicator& comm, TokensBetween tokens = TokensBetween::all);

// Of such a model with shares of tokens: what is trained and sees this rank's alone, so that its gradient is the sum over the ranks.
std::vector<Parameter*> parameters_of_shares(Transformer& model);

}  // namespace braid
