// SPDX-License-Identifier: Apache-2.0
// The memory of a block's frozen matrices, so that something outside may give it elsewhere and back
// (parallel/sharded_frozen.h).
#pragma once

#include <vector>

#include "nn/block.h"

namespace braid {

// One tensor of a matrix: dense, or the codes or absmax of one in NF4; every handle that its layer reads it by.
struct FrozenTensor {
  std::vector<at::Tensor*> handles;
};

// Of all matrices of the block that are not trained, in one order on every rank. The handles live as long as the block.
std::vector<FrozenTensor> frozen_tensors(const Block& block);

}  // namespace braid
