// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_training.h"

#include "base/clock.h"
#include "experiments/gist_answers.h"
#include "nn/initialise.h"
#include "nn/precompiled.h"
#include "parallel/gather_rows.h"
#include "parallel/gradient_reducer.h"
#include "train/evaluate.h"

namespace braid {

namespace {

// Samples [first, first + count) of a batch on the device, cut where the question begins.
struct Texts {
  at::Tensor context, question, targets;
};

Texts texts_of(const Batch& batch, int64_t first, int64_t count, const GistForm& form, const at::Device& device) {
  const int64_t context = batch.length - form.question_tokens;
  const at::Tensor tokens = token_tensor(batch.tokens, batch, first, count, device);
  const at::Tensor targets = token_tensor(batch.targets, batch, first, count, device);
  return {tokens.narrow(1, 0, context), tokens.narrow(1, context, form.question_tokens),
          targets.narrow(1, context, form.question_tokens)};
}

at::Tensor answer_loss(GistModel& gists, const at::Tensor& kept, const GistForm& form, const Texts& texts, double scale,
                       LossTotals& totals) {
  AnswerPast past = past_of_gists(kept, form.segments.length + gists.count());
  const at::Tensor logits = gists.answer(texts.question, past);
  return cross_entropy(logits.view({-1, logits.size(-1)}), texts.targets.reshape(-1), scale, totals);
}

PasskeyShape evaluated(const GistConfig& config, uint64_t seed, Split split) {
  return {config.eval_length, seed, split, 0, {}, config.eval_keys, passkey_kind(config.eval_task)};
}

// The largest number of answers that fit beside the contexts of a step.
int64_t answers_at_once(int64_t length) { return std::clamp<int64_t>(16384 / length, 2, 64); }

}  // namespace

at::Tensor gist_loss(GistModel& gists, const GistForm& form, const Batch& batch, int64_t first, int64_t count,
                     double scale, LossTotals& totals) {
  const Texts texts = texts_of(batch, first, count, form, gists.model().device());
  return answer_loss(gists, compress_texts(gists, texts.context, form.segments), form, texts, scale, totals);
}

// A rank without a sample of its own answers the first with weight 0: all ranks make the same calls in the same order.
at::Tensor shared_gist_loss(GistModel& gists, const GistForm& form, Communicator& comm, const Batch& batch,
                            int64_t first, int64_t count, double scale, LossTotals& totals) {
  const Texts all = texts_of(batch, first, count, form, gists.model().device());
  const at::Tensor rows = segment_rows(all.context, form.segments);
  const at::Tensor mine = gists.compress(rows_of_rank(rows, comm.rank(), comm.size()));
  const at::Tensor kept = gists_by_text(gather_rows(mine, rows.size(0), comm), count);
  Slice asked = slice_of(count, comm.rank(), comm.size());
  LossTotals nobody = make_loss_totals(gists.model().device());
  const bool none = asked.count == 0;
  if (none) asked = {0, 1};
  const Texts texts{
      {}, all.question.narrow(0, asked.first, asked.count), all.targets.narrow(0, asked.first, asked.count)};
  return answer_loss(gists, kept.narrow(0, asked.first, asked.count), form, texts, none ? 0.0 : scale,
                     none ? nobody : totals);
}

GistTraining::GistTraining(GistModel& gists, const RunConfig& config, TrainRanks ranks)
    : gists_(gists),
      config_(config.gist),
      phases_(config.gist.read_phases()),
      seed_(static_cast<uint64_t>(config.train.seed)),
      ranks_(ranks) {}

TableSpec GistTraining::table() {
  return {
      "gist",
      {{"step", ColumnType::int64, "1", "updates made before this evaluation"},
       {"answers", ColumnType::int64, "1", "held-out questions answered freely, by greedy decoding"},
       {"exact", ColumnType::float64, "1", "share of answers from gists that equal the key and end there"},
       {"shuffled", ColumnType::float64, "1", "the same with another sample's gists: near 0 unless something leaks"},
       {"seconds", ColumnType::float64, "s", "wall time of these answers"}}};
}

std::unique_ptr<Dataset> GistTraining::open(const RunConfig& config, Split split) {
  return std::make_unique<PasskeyTask>(evaluated(config.gist, static_cast<uint64_t>(config.train.seed), split));
}

StepPlan GistTraining::plan(const RunPosition& position) const {
  const CurriculumPosition& at = position.curriculum;
  const GistShape shape =
      gist_shape(phases_[static_cast<size_t>(at.phase)], config_.overlap, seed_, position.step, at.steps);
  StepPlan plan;
  PasskeyShape text{shape.tokens, seed_, Split::train, shape.distractors, {}, shape.keys, shape.kind,
                    config_.samples};
  text.keys = keys_that_fit(text);
  const auto data = std::make_shared<PasskeyTask>(text);
  plan.data = data;
  plan.samples = shape.samples;
  plan.rate = shape.rate;
  plan.whole = config_.shard_segments && ranks_.host.size() > 1;
  const GistForm form{plan_segments(shape.tokens, shape.segment, config_.overlap), data->question_tokens()};
  plan.loss = [this, form, shared = plan.whole](const Batch& batch, int64_t first, int64_t count, double scale,
                                                LossTotals& totals) {
    return shared ? shared_gist_loss(gists_, form, ranks_.data, batch, first, count, scale, totals)
                  : gist_loss(gists_, form, batch, first, count, scale, totals);
  };
  return plan;
}

Row GistTraining::measure(int64_t step, const Dataset& held_out) const {
  const Stopwatch watch;
  const Slice mine = slice_of(config_.eval_answers, ranks_.host.rank(), ranks_.host.size());
  const SegmentPlan segments = plan_segments(config_.eval_length, config_.segment, config_.overlap);
  const PasskeyTask task(evaluated(config_, seed_, Split::held_out));
  const PasskeyAnswers answers = answer_passkeys(gists_, held_out, {task.prefix_tokens(), task.answer_tokens()}, segments,
                                                 mine, answers_at_once(held_out.length()));
  int64_t right[2] = {exact_matches(answers.gist, answers.expected), exact_matches(answers.shuffled, answers.expected)};
  ranks_.host.all_reduce({right, 2, Dtype::int64}, ReduceOp::sum).wait();
  const auto share = [&](int64_t count) { return double(count) / double(config_.eval_answers); };
  return {{"step", step},
          {"answers", config_.eval_answers},
          {"exact", share(right[0])},
          {"shuffled", share(right[1])},
          {"seconds", watch.seconds()}};
}

void GistTraining::add_to(TrainTask& task) const {
  task.plan = [this](const RunPosition& position) { return plan(position); };
  task.phases = limits_of(phases_);
  const int64_t question = PasskeyTask(evaluated(config_, seed_, Split::held_out)).question_tokens();
  const GistForm form{plan_segments(config_.eval_length, config_.segment, config_.overlap), question};
  task.held_out_loss = [this, form](const Batch& batch, int64_t first, int64_t count, double scale,
                                    LossTotals& totals) {
    return gist_loss(gists_, form, batch, first, count, scale, totals);
  };
  task.more = {table(), [this, held_out = task.held_out](int64_t step) { return measure(step, *held_out); }};
}

void initialise_gist_model(GistModel& gists, const RunConfig& config) {
  initialise_fan_in(gists.model(), config.train.seed);
  initialise_gists(gists, config.train.seed);
}

// A batch is what the longest step has in contexts of model.context: what memory is planned for.
void follow_phases(RunConfig& config) {
  if (!config.gist.enabled()) return;
  int64_t tokens = config.gist.eval_length;
  config.train.steps = 0;
  for (const GistPhase& phase : config.gist.read_phases()) {
    config.train.steps += phase.steps;
    tokens = std::max(tokens, phase.tokens);
  }
  config.train.batch = (tokens + config.model.context - 1) / config.model.context;
}

}  // namespace braid
