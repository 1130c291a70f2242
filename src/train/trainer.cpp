// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <csignal>

#include "base/clock.h"
#include "base/error.h"
#include "nn/precompiled.h"
#include "optim/schedule.h"
#include "train/evaluate.h"
#include "train/memory.h"

namespace braid {

Trainer::Trainer(TrainTask task, TrainRanks ranks, RunRecorder& recorder)
    : task_(std::move(task)),
      ranks_(ranks),
      recorder_(recorder),
      optimizer_(task_.model.parameters(), task_.optim),
      reducer_(task_.model.parameters(), ranks.data),
      totals_(make_loss_totals(task_.model.device())),
      mine_(slice_of(task_.train.batch, ranks.host.rank(), ranks.host.size())) {}

RunOutcome Trainer::run() {
  maybe_evaluate(0);
  for (int64_t step = 0; step < task_.train.steps; ++step) {
    const Stopwatch watch;
    step_ = step;
    const Batch batch = fetch(step);
    const double targets = global_targets(batch);
    forward_backward(batch, targets);
    const StepNumbers numbers = read_numbers(targets);
    const Verdict verdict = judge(numbers, task_.train, bad_in_a_row_);
    if (verdict.update) update(numbers, step);
    record(numbers, verdict, step, watch.seconds());
    maybe_evaluate(step + 1);
    if (const auto outcome = ended_early(verdict, step)) return *outcome;
  }
  const bool finite = std::isfinite(last_loss_);
  return {finite ? "done" : "diverged", task_.train.steps - 1, finite ? "" : "the last loss is not finite", last_loss_};
}

Batch Trainer::fetch(int64_t step) const {
  return gather(task_.data, step * task_.train.batch + mine_.first, mine_.count);
}

// The divisor of every gradient: agreed before backward, so that a mean of means never arises.
double Trainer::global_targets(const Batch& batch) {
  int64_t count = batch.target_count;
  ranks_.host.all_reduce({&count, 1, Dtype::int64}, ReduceOp::sum).wait();
  return double(std::max<int64_t>(count, 1));
}

void Trainer::forward_backward(const Batch& batch, double targets) {
  Transformer& model = task_.model;
  const int64_t micro = task_.train.micro_batch > 0 ? task_.train.micro_batch : batch.samples;
  totals_.values.zero_();
  model.begin_step();
  for (int64_t first = 0; first < batch.samples; first += micro) {
    const int64_t count = std::min(micro, batch.samples - first);
    if (first + count == batch.samples) reducer_.arm();
    model.parameters().start_backward();
    const at::Tensor loss = model.loss(token_tensor(batch.tokens, batch, first, count, model.device()),
                                       token_tensor(batch.targets, batch, first, count, model.device()), 1.0 / targets,
                                       totals_);
    loss.backward();
  }
  model.end_backward();
  reducer_.finish();
}

// The step's only host-device synchronisation: loss sums of all ranks, the stop flags and the gradient norm in one copy.
StepNumbers Trainer::read_numbers(double targets) {
  const at::Tensor flag = at::full({1}, stop_request_.requested() ? 1.0 : 0.0, totals_.values.options());
  at::Tensor sums = at::cat({totals_.values, flag});
  ranks_.data.all_reduce(buffer_of(sums), ReduceOp::sum).wait();
  const at::Tensor all = at::cat({sums, gradient_norm(task_.model.parameters()).view({1})}).cpu();
  const double* v = all.const_data_ptr<double>();
  stop_agreed_ = v[4] > 0;
  return {v[LossTotals::loss] / targets, v[5], v[LossTotals::nonfinite]};
}

void Trainer::update(const StepNumbers& numbers, int64_t step) {
  optimizer_.step(learning_rate_at(task_.optim, step, task_.train.steps),
                  clip_divisor(numbers.gradient_norm, task_.optim.clip_norm));
}

void Trainer::record(const StepNumbers& numbers, const Verdict& verdict, int64_t step, double seconds) {
  bad_total_ += verdict.nonfinite;
  bad_in_a_row_ = verdict.update ? 0 : bad_in_a_row_ + 1;
  elapsed_ += seconds;
  last_loss_ = numbers.loss;
  const int64_t step_tokens = task_.train.batch * task_.data.length();
  StepRecord row{step,           numbers.loss, numbers.gradient_norm, learning_rate_at(task_.optim, step, task_.train.steps),
                 verdict.nonfinite, bad_total_,   (step + 1) * step_tokens, double(step_tokens) / seconds,
                 seconds,        elapsed_,     peak_memory_bytes(task_.model.device())};
  recorder_.step(row, task_.extra);
  if (!verdict.update) recorder_.event(step, "skipped_update", "loss or gradient was not finite");
}

void Trainer::maybe_evaluate(int64_t step) {
  const int64_t every = task_.train.eval_every;
  if (!task_.held_out || every <= 0) return;
  if (step % every != 0 && step != task_.train.steps) return;
  const Stopwatch watch;
  const int64_t micro = task_.train.micro_batch > 0 ? task_.train.micro_batch : mine_.count;
  const Evaluation e = evaluate(task_.model, *task_.held_out, task_.train.eval_samples, micro, ranks_.data);
  recorder_.evaluation({step, e.loss, e.accuracy, e.targets, watch.seconds()});
}

std::optional<RunOutcome> Trainer::ended_early(const Verdict& verdict, int64_t step) const {
  if (verdict.diverged) {
    return RunOutcome{"diverged", step, str("not finite for ", task_.train.nonfinite_limit, " steps in a row"),
                      last_loss_};
  }
  if (stop_agreed_) return RunOutcome{"stopped", step, str("stopped on request after step ", step), last_loss_};
  return std::nullopt;
}

}  // namespace braid
