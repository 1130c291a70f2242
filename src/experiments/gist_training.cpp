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

constexpr int64_t span_cue = 4;

// The largest number of answers that fit beside the contexts of a step.
int64_t answers_at_once(int64_t length) { return std::clamp<int64_t>(16384 / length, 2, 64); }

}  // namespace

GistTraining::GistTraining(GistModel& gists, const RunConfig& config, TrainRanks ranks)
    : gists_(gists),
      config_(config.gist),
      tasks_(config),
      phases_(config.gist.read_phases()),
      seed_(static_cast<uint64_t>(config.train.seed)),
      ranks_(ranks),
      most_(most_of_ranks(config)) {
  const bool further = config_.reconstructs() || config_.distillation > 0;
  if (further) terms_ = std::make_shared<GistTerms>(make_gist_terms(gists.model().device()));
}

MostOfRanks GistTraining::most_of_ranks(const RunConfig& config) const {
  if (config.parallel.sharding() != Sharding::parameters) return {};
  return [&host = ranks_.host](int64_t passes) {
    host.all_reduce({&passes, 1, Dtype::int64}, ReduceOp::max).wait();
    return passes;
  };
}

TableSpec GistTraining::table() {
  return {
      "gist",
      {{"step", ColumnType::int64, "1", "updates made before this evaluation"},
       {"answers", ColumnType::int64, "1", "held-out questions answered freely, by greedy decoding"},
       {"exact", ColumnType::float64, "1", "share of answers from gists that equal the key and end there"},
       {"shuffled", ColumnType::float64, "1", "the same with another sample's gists: near 0 unless something leaks"},
       {"seconds", ColumnType::float64, "s", "wall time of these answers"}}};
}

// Samples that are held out are answered alone.
GistForm GistTraining::form_of(SegmentPlan segments, const ContextTask& task, bool trains) const {
  GistForm form{std::move(segments), task.length() - task.context()};
  if (!trains) return form;
  form.kl_weight = config_.distillation;
  if (!config_.reconstructs()) return form;
  form.repeat_weight = config_.reconstruction;
  form.repeat_tokens = config_.repeat_shape(seed_).most;
  form.cue = config_.reconstructed == "span" ? span_cue : 0;
  return form;
}

StepPlan GistTraining::plan(const RunPosition& position) const {
  const CurriculumPosition& at = position.curriculum;
  const GistShape shape =
      gist_shape(phases_[static_cast<size_t>(at.phase)], config_.overlap, seed_, position.step, at.steps);
  StepPlan plan;
  const std::shared_ptr<const ContextTask> task = tasks_.open_training(shape);
  plan.data = tasks_.with_spans(task);
  plan.samples = shape.samples;
  plan.rate = shape.rate;
  plan.whole = config_.shard_segments && ranks_.host.size() > 1;
  GistForm form = form_of(plan_segments(shape.tokens, shape.segment, config_.overlap), *task, true);
  form.raw = shape.raw;
  plan.loss = [this, form, terms = terms_.get(), shared = plan.whole](const Batch& batch, int64_t first, int64_t count,
                                                                      double scale, LossTotals& totals) {
    return shared ? shared_gist_loss(gists_, form, ranks_.data, batch, first, count, scale, totals, terms)
                  : gist_loss(gists_, form, batch, first, count, scale, totals, terms);
  };
  return plan;
}

Row GistTraining::measure(int64_t step, const Dataset& held_out) const {
  const Stopwatch watch;
  const Slice mine = slice_of(config_.eval_answers, ranks_.host.rank(), ranks_.host.size());
  const SegmentPlan segments = plan_segments(config_.eval_length, config_.segment, config_.overlap);
  int64_t right[2] = {0, 0};
  const auto* const keys = dynamic_cast<const PasskeyTask*>(&held_out);
  if (keys == nullptr) {
    const TextAnswers answers = answer_texts(gists_, dynamic_cast<const ContextTask&>(held_out), segments, mine, most_);
    std::tie(right[0], right[1]) = std::pair(answers.gist, answers.shuffled);
  } else {
    const PasskeyAnswers answers = answer_passkeys(gists_, held_out, {keys->prefix_tokens(), keys->answer_tokens()},
                                                   segments, mine, answers_at_once(held_out.length()), most_);
    right[0] = exact_matches(answers.gist, answers.expected);
    right[1] = exact_matches(answers.shuffled, answers.expected);
  }
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
  task.enter_blocks = [this](EnterBlock enter) { gists_.enter_blocks(std::move(enter)); };
  const SegmentPlan segments = plan_segments(config_.eval_length, config_.segment, config_.overlap);
  GistForm form = form_of(segments, *tasks_.open_held_out(), false);
  form.most = most_;
  task.held_out_loss = [this, form](const Batch& batch, int64_t first, int64_t count, double scale,
                                    LossTotals& totals) {
    return gist_loss(gists_, form, batch, first, count, scale, totals);
  };
  task.more = {table(), [this, held_out = task.held_out](int64_t step) { return measure(step, *held_out); }};
}

// They become those of all ranks.
void GistTraining::sum_terms(bool counts) {
  if (!counts) terms_->values.zero_();
  ranks_.data.all_reduce(buffer_of(terms_->values), ReduceOp::sum).wait();
}

void GistTraining::add_to(ExtraMetrics& extra) {
  if (!terms_) return;
  const auto add = [&](const char* name, int64_t term, const char* meaning) {
    extra.columns.push_back({{name, ColumnType::float64, "nats/token", meaning}, [this, term] {
                               const at::Tensor sums = terms_->values.cpu();
                               const double* v = sums.const_data_ptr<double>();
                               return v[term] / v[term + GistTerms::repeated];  // NaN: the step has read raw segments
                             }});
  };
  if (config_.reconstructs()) {
    add("reconstruction_loss", GistTerms::repeat, "loss of a part of the context written out again from the gists");
  }
  if (config_.distillation > 0) {
    add("distillation_divergence", GistTerms::kl, "KL divergence of answers from those with the whole context");
  }
  extra.before_step = [this, before = extra.before_step](int64_t step) {
    if (before) before(step);
    terms_->values.zero_();
  };
  extra.after_backward = [this, after = extra.after_backward](bool counts) {
    if (after) after(counts);
    sum_terms(counts);
  };
}

void initialise_gist_model(GistModel& gists, const RunConfig& config) {
  if (!config.model.path.empty()) return initialise_gists_at_mean(gists, config.train.seed);
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
