// SPDX-License-Identifier: Apache-2.0
// How a pass says which block it is at, for what brings a block's weights before it runs (parallel/sharded_weights.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace braid {

// Block `layer` begins, in a forward pass or in backward, and `next` is expected to be the one behind it.
using EnterBlock = std::function<void(int64_t layer, int64_t next)>;

// Runs a block after entering it, and has its backward pass, which begins at the gradient of one of these results, enter it
// again, the other way round. Just runs it where `enter` is empty.
std::vector<at::Tensor> run_entered(const EnterBlock& enter, int64_t layer, const std::function<std::vector<at::Tensor>()>& run);

}  // namespace braid
