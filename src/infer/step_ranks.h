// SPDX-License-Identifier: Apache-2.0
// Steps of a model that is cut over several processes, each of which has some heads of every key and value: what the
// one with the requests says to the others, who do as it does.
#pragma once

#include <functional>

#include "infer/engine_step.h"

namespace braid {

// What run_step gives, of the whole model: logits [W, V].
using StepFunction =
    std::function<at::Tensor(Transformer& model, PagedCache& cache, std::span<const StepPiece> pieces)>;

struct WholeModel {
  StepFunction steps;
  std::function<void(const PagedCache&)> begin;  // the pool is there
  int64_t vocabulary = 0;
  // Makes what steps over this pool need, which then has a spare block; empty: they need none.
  std::function<void(PagedCache&)> prepare = {};
};

// A step as numbers, and back.
std::vector<int64_t> told_step(std::span<const StepPiece> pieces);
std::vector<StepPiece> heard_step(std::span<const int64_t> told);  // pieces look at `told`

}  // namespace braid
