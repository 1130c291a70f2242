// SPDX-License-Identifier: Apache-2.0
#include "train/run_position.h"

#include <cmath>

namespace braid {

StepHistory RunPosition::history(const StepNumbers& numbers) const {
  return {bad_in_a_row, rewinds, losses.zscore(numbers.loss), norms.zscore(numbers.gradient_norm)};
}

void RunPosition::finish_step(const StepNumbers& numbers, const Verdict& verdict, int64_t batch, double seconds) {
  ++step;
  updates += verdict.update;
  data.advance(batch);
  nonfinite_total += verdict.nonfinite;
  bad_in_a_row = verdict.update ? 0 : bad_in_a_row + 1;
  elapsed_seconds += seconds;
  last_loss = numbers.loss;
  if (!verdict.update || !std::isfinite(numbers.loss) || !std::isfinite(numbers.gradient_norm)) return;
  losses.add(numbers.loss);
  norms.add(numbers.gradient_norm);
}

// A loss that is not a number is not the lowest.
void RunPosition::evaluated(double held_out_loss) {
  if (step == evaluated_step) return;
  evaluated_step = step;
  held_out = held_out_loss;
  const bool lower = held_out_loss < lowest_held_out;
  evaluations_since = lower ? 0 : evaluations_since + 1;
  if (lower) lowest_held_out = held_out_loss;
}

CheckpointState to_state(const RunPosition& p) {
  std::vector<int64_t> first, count;
  for (const Slice& range : p.data.skipped) {
    first.push_back(range.first);
    count.push_back(range.count);
  }
  CheckpointState state = {{"step", p.step},
          {"optimizer_updates", p.updates},
          {"next_sample", p.data.next_sample},
          {"tokens", p.tokens},
          {"phase", p.curriculum.phase},
          {"phase_steps", p.curriculum.steps},
          {"phase_mean_loss", p.curriculum.mean_loss},
          {"skipped_first", first},
          {"skipped_count", count},
          {"nonfinite_total", p.nonfinite_total},
          {"bad_in_a_row", p.bad_in_a_row},
          {"rewinds", p.rewinds},
          {"elapsed_seconds", p.elapsed_seconds},
          {"last_loss", p.last_loss},
          {"recent_losses", p.losses.values()},
          {"recent_gradient_norms", p.norms.values()},
          {"lowest_held_out", p.lowest_held_out},
          {"evaluations_since", p.evaluations_since},
          {"evaluated_step", p.evaluated_step}};
  if (p.step == p.evaluated_step && std::isfinite(p.held_out)) state[held_out_state] = p.held_out;
  return state;
}

void restore(RunPosition& p, const CheckpointState& state) {
  p.step = state_int(state, "step");
  p.updates = state_int(state, "optimizer_updates");
  p.data.next_sample = state_int(state, "next_sample");
  const std::vector<int64_t> first = state_ints(state, "skipped_first"), count = state_ints(state, "skipped_count");
  p.data.skipped.clear();
  for (size_t i = 0; i < first.size(); ++i) p.data.skipped.push_back({first[i], count.at(i)});
  p.nonfinite_total = state_int(state, "nonfinite_total");
  p.bad_in_a_row = state_int(state, "bad_in_a_row");
  p.rewinds = state_int(state, "rewinds");
  p.elapsed_seconds = state_double(state, "elapsed_seconds");
  p.last_loss = state_double(state, "last_loss");
  p.losses.restore(state_doubles(state, "recent_losses"));
  p.norms.restore(state_doubles(state, "recent_gradient_norms"));
  if (state.count("tokens") || state.count("phase")) {  // else written by a version without phases
    p.tokens = state_int(state, "tokens");
    p.curriculum = {state_int(state, "phase"), state_int(state, "phase_steps"), state_double(state, "phase_mean_loss")};
  }
  if (!state.count("lowest_held_out")) return;  // written by a version without it
  p.lowest_held_out = state_double(state, "lowest_held_out");
  p.evaluations_since = state_int(state, "evaluations_since");
  p.evaluated_step = state_int(state, "evaluated_step");
  if (state.count(held_out_state)) p.held_out = state_double(state, held_out_state);
}

}  // namespace braid
