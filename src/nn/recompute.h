// SPDX-License-Identifier: Apache-2.0
// Activation recomputation (Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174): of a block
// only the input is kept, and backward runs it once more. The second run is the first one again, bit for bit: dropout
// draws by an element's place and not from a generator.
#pragma once

#include <vector>

#include "nn/block.h"

namespace braid {

enum class Recompute { none, attention, blocks };

// For Transformer::wrap_blocks. Where no gradients are asked for the block runs as it is.
BlockWrapper recompute_blocks();

// Of each of these blocks the attention with its norm alone: what grows with the context, at less than half of the work.
void recompute_attention(std::vector<Block>& blocks);

// The same for any function of one to three tensors in floating point, all of which gradients flow to.
using TensorFunction = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;
std::vector<at::Tensor> recomputed(const TensorFunction& run, const std::vector<at::Tensor>& inputs);

}  // namespace braid
