// SPDX-License-Identifier: Apache-2.0
// Token ids to vectors, plus learned positions where the dialect has them.
#pragma once

#include <functional>

#include "nn/parameter.h"

namespace braid {

struct Embedding {
  Parameter* tokens = nullptr;     // [V, D], or some rows of it
  Parameter* positions = nullptr;  // [T, D], or none
  at::ScalarType output = at::kFloat;
  // Where only some rows are here, those of other ids are zeros: makes it the sum with where they are, or some tokens of it.
  std::function<void(at::Tensor&)> complete;
};

// ids [B, T] int64 to [B, T, D] in the output type. Position ids [T] or [B, T] default to 0..T-1.
// No weight here is an autograd leaf, so a dummy input that requires a gradient makes the graph reach this far.
at::Tensor embed(const at::Tensor& ids, const Embedding& embedding, const at::Tensor& position_ids = {});

}  // namespace braid
