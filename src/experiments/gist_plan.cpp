// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_plan.h"

#include <algorithm>

#include "base/error.h"
#include "nn/gist_segments.h"
#include "parallel/gradient_reducer.h"
#include "train/activation_memory.h"

namespace braid {

namespace {

int64_t up(int64_t count, int64_t parts) { return (count + parts - 1) / parts; }

// Of a phase, what is asked with the longest question.
int64_t question_tokens(const RunConfig& config, const GistPhase& phase, const GistShape& shape) {
  if (config.data.kind == "needles") return config.needles.question_tokens;
  int64_t longest = 0;
  for (const int64_t keys : phase.keys) {
    for (const PasskeyKind kind : phase.tasks) {
      PasskeyShape asked{shape.tokens, 0, Split::train, 0, {}, keys, keys == 1 ? PasskeyKind::multikey : kind};
      asked.keys = keys_that_fit(asked);
      longest = std::max(longest, PasskeyTask(asked).question_tokens());
    }
  }
  return longest;
}

bool same(const GistStep& a, const GistStep& b) {
  return a.shape.segment == b.shape.segment && a.shape.segments == b.shape.segments && a.shape.samples == b.shape.samples &&
         a.shape.raw == b.shape.raw && a.question == b.question;
}

void add(std::vector<GistStep>& all, const GistStep& step) {
  if (step.share == 0) return;
  const auto known = std::find_if(all.begin(), all.end(), [&](const GistStep& other) { return same(other, step); });
  known == all.end() ? all.push_back(step) : void(known->share += step.share);
}

bool shares_segments(const RunConfig& config, int64_t data_ranks) { return config.gist.shard_segments && data_ranks > 1; }

// Of samples that pass together what a rank does.
struct GistPart {
  int64_t rows = 0;   // segments that it compresses
  int64_t texts = 0;  // questions that it answers
  int64_t kept = 0;   // segments that it keeps gists of
};

GistPart part_of(const RunConfig& config, const GistStep& step, int64_t samples, int64_t data_ranks) {
  const int64_t rows = samples * step.shape.segments;
  if (!shares_segments(config, data_ranks)) return {rows, samples, rows};
  const int64_t each = up(rows, data_ranks);
  return {each, up(samples, data_ranks), each * data_ranks};
}

int64_t micro_of(const RunConfig& config, int64_t samples) {
  return config.train.micro_batch > 0 ? std::min(config.train.micro_batch, samples) : samples;
}

int64_t compute_bytes(const RunConfig& config) { return config.train.numeric() == Precision::bf16 ? 2 : 4; }

// Columns whose keys and values are kept of a segment.
int64_t columns_of(const RunConfig& config, const GistStep& step) {
  return step.shape.raw ? step.shape.segment : config.gist.count;
}

int64_t key_value_bytes(const RunConfig& config) {
  return config.model.layers * 2 * config.model.key_value_width() * compute_bytes(config);
}

// Nothing that is trained acts on contexts (GistModel).
bool context_is_constant(const RunConfig& config) { return config.lora.enabled() && config.lora.on_gists(); }

// What GistModel expects more of than such a step gives it: vectors that nobody asks for, weights whose text is not written out
// again, adapters of gists behind the last keys and values.
bool is_unready(const RunConfig& config, const GistStep& step, const std::string& name) {
  if (step.shape.raw) return config.gist.reconstructs() || name.starts_with("gist.");
  const bool last = context_is_constant(config) && name.starts_with(str("layers.", config.model.layers - 1, "."));
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  return last && !has("q_proj") && !has("k_proj") && !has("v_proj");
}

// Keys and values that one rank hands out, and gradients of all that come back to where they are from (gather_rows.h).
int64_t shared_segment_bytes(const RunConfig& config, const GistStep& step, int64_t data_ranks) {
  const int64_t samples = gist_samples(config, step, data_ranks), micro = micro_of(config, samples);
  int64_t rows = 0;
  for (int64_t done = 0; done < samples; done += micro) {
    rows += part_of(config, step, std::min(micro, samples - done), data_ranks).rows;
  }
  return rows * (1 + data_ranks) * columns_of(config, step) * key_value_bytes(config);
}

}  // namespace

std::vector<GistStep> gist_steps(const RunConfig& config) {
  const std::vector<GistPhase> phases = config.gist.read_phases();
  double all_steps = 0;
  for (const GistPhase& phase : phases) all_steps += double(phase.steps);
  std::vector<GistStep> all;
  for (const GistPhase& phase : phases) {
    const double each = double(phase.steps) / all_steps / double(phase.segments.size() * phase.counts.size());
    for (const int64_t segment : phase.segments) {
      for (const int64_t count : phase.counts) {
        GistStep step;
        step.shape = shape_of(phase, segment, count, config.gist.overlap);
        step.question = question_tokens(config, phase, step.shape);
        for (const bool raw : {false, true}) {
          step.shape.raw = raw;
          step.share = each * (raw ? phase.raw : 1 - phase.raw);
          add(all, step);
        }
      }
    }
  }
  return all;
}

int64_t gist_samples(const RunConfig& config, const GistStep& step, int64_t data_ranks) {
  return shares_segments(config, data_ranks) ? step.shape.samples : up(step.shape.samples, data_ranks);
}

Traffic gist_traffic(const RankShapes& shapes, const RunConfig& config, int64_t data_ranks, const GistStep& step) {
  StepShape shape;
  shape.samples = gist_samples(config, step, data_ranks);
  shape.passes = up(shape.samples, micro_of(config, shape.samples));
  const bool repeats = !step.shape.raw && config.gist.reconstructs(), asks_model = !step.shape.raw && config.gist.distillation > 0;
  shape.backwards = 2 + (repeats ? 1 : 0);  // segments, answers, what is written out again
  shape.forwards = shape.backwards + (asks_model ? 1 : 0);
  shape.unready = [&](const Parameter& parameter) { return is_unready(config, step, parameter.name); };
  Traffic traffic = planned_traffic(shapes, config, data_ranks, shape);
  if (data_ranks == 1) return traffic;
  const bool further = config.gist.reconstructs() || config.gist.distillation > 0;
  if (further) traffic.sums += 4 * int64_t(sizeof(double));
  if (!shares_segments(config, data_ranks)) return traffic;
  traffic.sums -= int64_t(sizeof(int64_t));  // all know how many targets there are
  traffic.keys += shared_segment_bytes(config, step, data_ranks);
  return traffic;
}

double gist_operations(const RunConfig& config, const GistStep& step, int64_t data_ranks) {
  const ModelConfig& m = config.model;
  const int64_t samples = gist_samples(config, step, data_ranks), k = step.shape.raw ? 0 : config.gist.count;
  const GistPart part = part_of(config, step, samples, data_ranks);
  const int64_t S = step.shape.segment, Q = step.question, past = step.shape.segments * columns_of(config, step);
  const double head = double(m.vocabulary * m.width), adapters = double(lora_elements(m, config.lora));
  const double blocks = double(count_parameters(m)) - head * (m.tie_embeddings ? 1 : 2);
  const double trained = config.lora.enabled() ? 4 : 6, scores = double(m.layers * m.query_width());
  const auto passed = [&](int64_t tokens, double factor, int64_t sees) {  // the scores' 12 are 4 in a forward pass alone
    const double backward = factor > 2 ? 3 : 1;
    return double(tokens) * (factor * blocks + 4 * backward * scores * double(sees) + (factor > 2 ? 6 * adapters : 0));
  };
  double all = passed(part.texts * Q, trained, past + Q) + double(part.texts * Q) * trained * head;
  all += context_is_constant(config) ? passed(part.rows * S, 2, S) + passed(part.rows * k, trained, S + k)
                                     : passed(part.rows * (S + k), trained, S + k);
  const bool gists = !step.shape.raw;
  if (gists && config.gist.reconstructs()) {
    const int64_t span = config.gist.reconstructed_tokens;
    all += passed(part.texts * span, trained, past + span) + double(part.texts * span) * trained * head;
  }
  if (gists && config.gist.distillation > 0) all += passed(part.texts * (step.shape.tokens + Q), 2, step.shape.tokens);
  return all;
}

int64_t gist_activation_bytes(const RunConfig& config, const GistStep& step, int64_t data_ranks) {
  const ModelConfig& m = config.model;
  const int64_t samples = micro_of(config, gist_samples(config, step, data_ranks)), columns = columns_of(config, step);
  const GistPart part = part_of(config, step, samples, data_ranks);
  const bool constant = context_is_constant(config), raw = step.shape.raw;
  const int64_t S = step.shape.segment, k = raw ? 0 : config.gist.count, kv = key_value_bytes(config);
  const int64_t read = part.rows * (constant ? k : S + k);
  const int64_t asked = part.texts * step.question;
  const int64_t written = !raw && config.gist.reconstructs() ? part.texts * config.gist.reconstructed_tokens : 0;
  const BlockBytes of_read = block_bytes(m, config.train, read), of_asked = block_bytes(m, config.train, asked + written);
  const bool again = config.train.recompute;
  const bool again_read = again && !raw;
  const auto kept = [&](const BlockBytes& of, int64_t tokens, bool recomputed) {
    return tokens * (recomputed ? of.input : of.kept);
  };
  const auto passing = [&](const BlockBytes& of, int64_t tokens, bool recomputed) {
    return tokens * (of.passing + (recomputed ? of.kept : 0));
  };
  // The last block of a segment is asked for the keys and values of its columns alone.
  int64_t compressed = (m.layers - 1) * kept(of_read, read, again_read) + part.rows * columns * of_read.attention +
                       part.kept * columns * kv;
  // A product over a past takes keys and values for each query head and, on CPUs, in fp32; recomputed it is one block's alone.
  const int64_t seen = m.heads / m.key_value_heads() * 4 / compute_bytes(config);
  const auto kept_past = [&](int64_t columns, int64_t layers) {
    return columns * kv / m.layers * (again ? layers + seen : layers * seen);
  };
  if (constant) compressed += kept_past(part.rows * (S + k), m.layers - 1);
  const int64_t past = step.shape.segments * columns, passes = written > 0 ? 2 : 1;
  const int64_t answered = m.layers * kept(of_asked, asked + written, again) +
                           kept_past(part.texts * past * passes + asked + written, m.layers);
  const int64_t beside = std::max(passing(of_asked, asked + written, again), (asked + written) * of_asked.head);
  const int64_t reading = constant ? part.rows * S * of_read.forward : 0;
  return compressed + std::max({answered + beside, passing(of_read, read, again_read), reading});
}

void plan_gists(MemoryPlan& plan, const RunConfig& config, int64_t data_ranks) {
  const int64_t vectors = config.gist.elements(config.model);
  plan.weights += vectors * (compute_bytes(config) == 2 ? 6 : 4);
  plan.gradients += vectors * 4;
  plan.optimiser += vectors * 8;
  if (config.parallel.sharding() >= Sharding::gradients && data_ranks > 1) {
    // A block's gradient is complete when its segments have been passed back, behind all answers: all are there for a moment.
    const bool trains = !config.lora.enabled();
    const int64_t unit = std::max(BucketSizes().other_bytes, trains ? config.model.vocabulary * config.model.width * 4 : 0);
    plan.passing += std::max<int64_t>(0, 4 * count_trainable(config.model, config.lora, config.memory) - 3 * unit);
  }
  plan.activations = 0;
  for (const GistStep& step : gist_steps(config)) {
    plan.activations = std::max(plan.activations, gist_activation_bytes(config, step, data_ranks));
  }
}

}  // namespace braid
