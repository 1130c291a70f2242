// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "comm/agreement.h"
#include "nn/precompiled.h"
#include "nn/recompute.h"
#include "optim/adamw.h"
#include "optim/schedule.h"
#include "parallel/gradient_reducer.h"
#include "store/checkpoint_reader.h"
#include "train/evaluate.h"
#include "train/memory.h"
#include "train/token_share.h"

namespace braid {

namespace {

// An embedding that is the head as well is on the first and on the last stage.
TrainedPlace place_of(const TrainTask& task, const Mesh& mesh) {
  const ModelConfig& config = task.model.config();
  const bool copy = config.tie_embeddings && config.holds_head() && !config.holds_embedding();
  return {mesh.replicas(), mesh.place().tensor, static_cast<int>(mesh.shape().tensor), task.groups,
          static_cast<int>(mesh.shape().pipeline), copy ? "embedding.weight" : "", task.frozen};
}

}  // namespace

Trainer::Trainer(TrainTask task, const Mesh& mesh, RunRecorder& recorder, StopRequest& stop_request)
    : task_(std::move(task)),
      ranks_(mesh.world()),
      replicas_(mesh.data()),
      mesh_(mesh),
      recorder_(recorder),
      stop_request_(stop_request),
      sets_(task_.trained, place_of(task_, mesh), task_.sharding),
      checkpointer_(task_.checkpoint, sets_.state_tensors(), ranks_.host),
      totals_(make_loss_totals(task_.model.device())),
      position_(task_.train) {
  const bool own_passes = task_.plan && !task_.enter_blocks;  // which may go round the wrapper
  if (!sets_.spreads() || own_passes || task_.pipeline) return;
  task_.model.wrap_blocks(sets_.gather(task_.train.recomputed() == Recompute::blocks ? recompute_blocks() : BlockWrapper()));
  if (task_.enter_blocks) task_.enter_blocks(sets_.enter_blocks());
}

Trainer::~Trainer() {
  if (!sets_.enters_blocks()) return;
  task_.model.wrap_blocks({});
  if (task_.enter_blocks) task_.enter_blocks({});
}

void Trainer::resume(const std::string& checkpoint, const Manifest& manifest) {
  agree(ranks_.host, [&] {
    load_tensors(CheckpointReader(checkpoint, manifest), checkpointer_.tensors());
    restore(position_, manifest.state);
    if (!task_.plan) position_.tokens = position_.step * task_.train.batch * task_.data.length();
  });
  sets_.resume_at(position_.updates);
  std::error_code elsewhere;  // a checkpoint of another run
  const std::string own = checkpoint_path(task_.checkpoint.root, position_.step);
  if (std::filesystem::equivalent(checkpoint, own, elsewhere)) checkpointer_.trust(position_.step);
}

RunOutcome Trainer::run() {
  maybe_evaluate();
  if (task_.train.rewinds() && checkpointer_.committed_step() < 0) {
    checkpointer_.stage(position_);
    checkpointer_.launch();
  }
  while (!at_end()) {
    const Stopwatch watch;
    plan_ = next_plan();
    const Batch batch = fetch();
    const double targets = global_targets(batch);
    forward_backward(batch, targets);
    const StepNumbers numbers = read_numbers(targets);
    const Verdict verdict = judge(numbers, task_.train, position_.history(numbers));
    if (verdict.rewind) {
      rewind(verdict);
      continue;
    }
    if (verdict.update) update(numbers);
    finish_step(numbers, verdict, watch.seconds());
    if (task_.on_first_step) std::exchange(task_.on_first_step, nullptr)();
    if (const auto outcome = ended_early(verdict)) return *outcome;
  }
  checkpointer_.finish();
  report_saves();
  const bool finite = std::isfinite(position_.last_loss);
  return {finite ? "done" : "diverged", position_.step - 1, finite ? "" : "the last loss is not finite",
          position_.last_loss};
}

StepPlan Trainer::next_plan() const {
  if (task_.plan) return task_.plan(position_);
  const std::shared_ptr<const Dataset> data(std::shared_ptr<const Dataset>(), &task_.data);
  const auto loss = [this](const Batch& batch, int64_t first, int64_t count, double scale, LossTotals& totals) {
    return batch_loss(task_.model, batch, first, count, scale, totals, &mesh_.context().data);
  };
  return {data, task_.train.batch, loss};
}

Slice Trainer::mine() const {
  if (plan_.whole) return {0, plan_.samples};
  return slice_of(plan_.samples, replicas_.host.rank(), replicas_.host.size());
}

// Of a step with fewer samples than ranks: the first sample with weight 0, so that all make the same calls in one order.
bool Trainer::is_idle() const { return mine().count == 0; }

bool Trainer::at_end() const {
  const bool taught = !task_.phases.empty() && position_.curriculum.phase >= std::ssize(task_.phases);
  return taught || position_.step >= task_.train.steps;
}

Batch Trainer::fetch() const {
  const std::vector<Slice> all = position_.data.next(plan_.samples);
  return own_tokens(gather(*plan_.data, part_of(all, is_idle() ? Slice{0, 1} : mine())), context_part(mesh_));
}

// The divisor of every gradient: agreed before backward, so that a mean of means never arises.
double Trainer::global_targets(const Batch& batch) {
  int64_t count = is_idle() ? 0 : batch.target_count;
  if (!plan_.whole) mesh_.replicas().host.all_reduce({&count, 1, Dtype::int64}, ReduceOp::sum).wait();
  return double(std::max<int64_t>(count, 1));
}

// Where every rank has to make as many passes, one with fewer samples passes its first again, with weight 0.
std::vector<Trainer::MicroBatch> Trainer::micro_batches(const Batch& batch) const {
  const int64_t micro = task_.train.micro_batch > 0 ? task_.train.micro_batch : batch.samples;
  std::vector<MicroBatch> all;
  for (int64_t first = 0; first < batch.samples; first += micro) {
    all.push_back({first, std::min(micro, batch.samples - first), !is_idle()});
  }
  if (!sets_.counts_passes() || plan_.whole || task_.train.micro_batch == 0) return all;
  const int64_t most = slice_of(plan_.samples, 0, replicas_.host.size()).count;  // of any rank
  while (std::ssize(all) * micro < most) all.push_back({0, 1, false});
  return all;
}

void Trainer::forward_backward(const Batch& batch, double targets) {
  Transformer& model = task_.model;
  totals_.values.zero_();
  LossTotals nobody = make_loss_totals(model.device());
  if (task_.extra.before_step) task_.extra.before_step(position_.step);
  sets_.open();
  sets_.zero_gradients();  // before anyone takes a slot
  model.residual().begin_step();
  fetch_block_inputs(model, batch, 0, batch.samples);
  const std::vector<MicroBatch> passes = task_.pipeline ? std::vector<MicroBatch>() : micro_batches(batch);
  if (task_.pipeline) run_pipeline(batch, targets);
  for (const MicroBatch& pass : passes) {
    sets_.arm(&pass == &passes.back());
    sets_.start_backward();
    set_dropout(batch, pass);
    plan_.loss(batch, pass.first, pass.count, pass.counts ? 1 / targets : 0, pass.counts ? totals_ : nobody).backward();
  }
  model.end_backward();
  sets_.finish();
  sets_.close();
  // Behind the buckets, which may leave in another order on each rank.
  if (model.block_input()) model.block_input()->return_gradients();
  if (task_.extra.after_backward) task_.extra.after_backward(!is_idle());
}

// Masks are functions of the place of a sample, wherever and however often they are drawn.
void Trainer::set_dropout(const Batch& batch, const MicroBatch& pass) {
  if (!task_.adapters) return;
  task_.adapters->set_position(
      dropout_position(position_.step, mine().first + pass.first, pass.count, batch.length, context_part(mesh_)));
}

// The step's only host-device synchronisation: loss sums of all ranks, what they want to agree on and the gradient norm
// in one copy. Ranks that saw the same tokens have the same sums, and each brings its part of them; of a pipeline only the
// last stage's are not zero.
StepNumbers Trainer::read_numbers(double targets) {
  const double copies = double(ranks_.host.size() / mesh_.replicas().host.size() / mesh_.shape().pipeline);
  at::Tensor sums = at::cat({totals_.values / copies, my_flags().to(totals_.values.device(), true), sets_.own_squares()});
  ranks_.data.all_reduce(buffer_of(sums), ReduceOp::sum).wait();
  const at::Tensor all = at::cat({sums, sets_.shared_norm()}).cpu();
  const double* v = all.const_data_ptr<double>();
  const double* flags = v + totals_.values.numel();
  flags_ = {flags[0] > 0, flags[1] > 0, flags[2] > 0};
  const double own_squares = flags[Flags::count], shared_norm = flags[Flags::count + 1];
  const double norm = own_squares == 0 ? shared_norm : std::sqrt(shared_norm * shared_norm + own_squares);
  return {v[LossTotals::loss] / targets, norm, v[LossTotals::nonfinite]};
}

// One rank's wish is enough; a sum over the ranks tells.
at::Tensor Trainer::my_flags() const {
  const bool clock = ranks_.host.rank() == 0;
  const bool late = clock && task_.limit.reached(unix_seconds(), slowest_step_, checkpointer_.estimated_seconds());
  const bool give_up = checkpointer_.failed() && checkpointer_.config().on_failure == "stop";
  return at::tensor({double(stop_request_.requested()), double(late), double(give_up)}, totals_.values.options().device(at::kCPU));
}

double Trainer::learning_rate() const { return plan_.rate * learning_rate_at(task_.optim, position_.step, task_.train.steps); }

void Trainer::update(const StepNumbers& numbers) {
  sets_.step(learning_rate(), clip_divisor(numbers.gradient_norm, task_.optim.clip_norm));
}

// The row goes out after the copy for a checkpoint and before its commit: the commit waits for the row to be on disk.
// Before the copy comes the evaluation, which the checkpoint is to know of.
void Trainer::finish_step(const StepNumbers& numbers, const Verdict& verdict, double seconds) {
  const int64_t step = position_.step, step_tokens = plan_.samples * plan_.data->length();
  const double rate = learning_rate();
  slowest_step_ = std::max(seconds, 0.9 * slowest_step_);
  position_.finish_step(numbers, verdict, plan_.samples, seconds);
  position_.tokens += step_tokens;
  advance_phase(numbers.loss);
  maybe_evaluate();
  const bool save = save_is_due(verdict);
  const double blocked = save ? checkpointer_.stage(position_) : 0;
  if (task_.extra.after_update) task_.extra.after_update();
  recorder_.step({step, numbers.loss, numbers.gradient_norm, rate, verdict.nonfinite, position_.nonfinite_total,
                  position_.tokens, double(step_tokens) / seconds, seconds, position_.elapsed_seconds,
                  peak_memory_bytes(task_.model.device()), 1e3 * blocked},
                 task_.extra);
  if (!verdict.update) recorder_.event(step, "skipped_update", verdict.reason);
  if (save) checkpointer_.launch();
  report_saves();
}

void Trainer::advance_phase(double loss) {
  if (task_.phases.empty()) return;
  const CurriculumPosition before = position_.curriculum;
  if (!advance(position_.curriculum, loss, task_.phases)) return;
  recorder_.event(position_.step - 1, "phase_ended",
                  str("phase ", before.phase + 1, " of ", task_.phases.size(), " after ", before.steps + 1, " steps"));
}

void Trainer::maybe_evaluate() {
  const int64_t every = task_.train.eval_every, step = position_.step;
  if (!task_.held_out || every <= 0) return;
  if (step % every != 0 && !at_end()) return;
  const Stopwatch watch;
  const int64_t largest = slice_of(task_.train.batch, 0, replicas_.host.size()).count;  // of any rank's share
  const int64_t micro = std::max<int64_t>(1, task_.train.micro_batch > 0 ? task_.train.micro_batch : largest);
  sets_.open();
  const Evaluation e = evaluate(task_.model, *task_.held_out, task_.train.eval_samples, micro, mesh_, task_.held_out_loss,
                                task_.pipeline);
  recorder_.evaluation({step, e.loss, e.accuracy, e.targets, watch.seconds()});
  position_.evaluated(e.loss);
  if (task_.more.measure) recorder_.row(task_.more.table.name, task_.more.measure(step));
  sets_.close();
}

std::optional<RunOutcome> Trainer::ended_early(const Verdict& verdict) {
  const int64_t last = position_.step - 1;
  if (verdict.diverged) {
    checkpointer_.finish();
    report_saves();
    return RunOutcome{"diverged", last, verdict.reason, position_.last_loss};
  }
  if (at_end()) return std::nullopt;
  if (task_.train.patience > 0 && position_.evaluations_since >= task_.train.patience) return done_early();
  if (verdict.stop) {
    RunOutcome outcome = stopped_with_checkpoint(verdict.reason);
    outcome.state = "stopped";  // starting it again by itself would meet the same step
    return outcome;
  }
  if (flags_.out_of_time) return stopped_with_checkpoint(str("time limit: stopped after step ", last));
  if (flags_.stop) return stopped_with_checkpoint(str("stopped on request after step ", last));
  if (flags_.save_failed) {
    return RunOutcome{"stopped", last, "a checkpoint could not be saved (checkpoint.on_failure = stop)", position_.last_loss};
  }
  return std::nullopt;
}

RunOutcome Trainer::done_early() {
  checkpointer_.finish();
  if (checkpointer_.config().at_end && checkpointer_.committed_step() != position_.step) {
    checkpointer_.stage(position_);
    checkpointer_.launch();
    checkpointer_.finish();
  }
  report_saves();
  return {"done", position_.step - 1,
          str("the held-out loss has not fallen below ", position_.lowest_held_out, " for ", position_.evaluations_since,
              " evaluations"),
          position_.last_loss};
}

// "preempted" says that starting the run again goes on from here.
RunOutcome Trainer::stopped_with_checkpoint(const std::string& reason) {
  checkpointer_.finish();
  report_saves();
  const bool saved = checkpointer_.committed_step() == position_.step;
  return {saved ? "preempted" : "stopped", position_.step - 1, saved ? reason : reason + ", without a checkpoint",
          position_.last_loss};
}

}  // namespace braid
