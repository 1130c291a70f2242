// SPDX-License-Identifier: Apache-2.0
#include "nn/enter_block.h"

#include "nn/precompiled.h"

namespace braid {

std::vector<at::Tensor> run_entered(const EnterBlock& enter, int64_t layer, const std::function<std::vector<at::Tensor>()>& run) {
  if (!enter) return run();
  enter(layer, layer + 1);
  std::vector<at::Tensor> results = run();
  for (const at::Tensor& result : results) {
    if (result.requires_grad()) result.register_hook([enter, layer](const at::Tensor&) { enter(layer, layer - 1); });
  }
  return results;
}

}  // namespace braid
