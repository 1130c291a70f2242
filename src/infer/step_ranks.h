// SPDX-License-Identifier: Apache-2.0
// Steps of a model that is cut over several processes, each of which has some heads of every key and value: what the
// one with the requests says to the others, who do as it does.
#pragma once

#include <functional>
#include <string>

#include "infer/engine_step.h"

namespace braid {

// What run_step gives, of the whole model: logits [W, V].
using StepFunction =
    std::function<at::Tensor(Transformer& model, PagedCache& cache, std::span<const StepPiece> pieces)>;

// Of steps that are recorded (infer/recorded_steps.h).
struct RecordedState {
  int64_t sizes = 0;    // that are recorded now
  std::string problem;  // why none are, one line; "" where nothing went wrong
};

struct WholeModel {
  StepFunction steps;
  std::function<void(const PagedCache&)> begin;  // the pool is there
  int64_t vocabulary = 0;
  // Makes what steps over this pool need, which then has a spare block; empty: they need none.
  std::function<void(PagedCache&)> prepare = {};
  std::function<RecordedState()> recorded = {};  // from any thread; empty: steps are not recorded
  // Slots from `first` on of a past (Engine::add_past, counted from 0) are about to be written into these blocks; empty: nobody
  // else has to do so.
  std::function<void(int64_t past, std::span<const int64_t> blocks, int64_t first)> tell_past = {};
};

// A step as numbers, and back.
std::vector<int64_t> told_step(std::span<const StepPiece> pieces);
std::vector<StepPiece> heard_step(std::span<const int64_t> told);  // pieces look at `told`

}  // namespace braid
