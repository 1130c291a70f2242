// SPDX-License-Identifier: Apache-2.0
#include "experiments/run_config.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "data/needle_stream.h"
#include "data/passkey_task.h"
#include "experiments/parallel_limits.h"
#include "experiments/pretrained.h"
#include "nn/connection_functions.h"

namespace braid {

void SweepConfig::describe(ConfigSection& s) {
  s.value("layers", layers, "model.layers of each run; empty: the one of [model] [blocks]");
  s.value("residual", residual, "model.residual of each run: residual, hc, mhc; empty: the one of [model]");
  s.value("tasks", tasks, "data.kind of each run; empty: the one of [data]");
  s.value("vocabulary", vocabulary,
          "model.vocabulary of each entry of sweep.tasks, in the same order; empty: the one of [model] [tokens]");
  s.value("forms", forms, "model.connection_form of each run with streams: poc, paper; empty: the one of [model]");
  s.value("manifolds", manifolds,
          "model.manifold of each run with mhc in the paper's form: sinkhorn, permutations; empty: the one of [model]");
  s.value("starts", starts,
          "model.connection_start of each run with mhc in the paper's form: home, zeros, identity, zeros_random, "
          "identity_random; empty: the one of [model]");
  s.value("streams", streams, "model.streams of each run with streams; empty: the one of [model] [streams]");
  s.value("iterations", iterations,
          "model.sinkhorn_iterations of each run whose mixing is made by Sinkhorn; empty: the one of [model] "
          "[iterations]");
  s.value("precisions", precisions, "train.precision of each run: fp32, bf16; empty: the one of [train]");
  s.value("epochs", epochs, "train.epochs of each run; empty: the one of [train] [epochs]");
  s.value("learning_rates", learning_rates, "optim.learning_rate of each run; empty: the one of [optim] [1]");
  s.value("lora_ranks", lora_ranks, "lora.rank of each run; empty: the one of [lora] [1]");
  s.value("seeds", seeds, "train.seed of each run; empty: the one of [train]");
  s.value("batch", batch,
          "train.batch of each entry of sweep.layers, in the same order; empty: the one of [train] [samples]");
  s.value("variations", variations,
          "runs that differ in a few keys each, \"NAME: KEY=VALUE; KEY=VALUE\"; \"NAME:\" is the file as it stands");
  s.value("side_by_side", side_by_side, "runs at the same time, on equal groups of the ranks [runs]", 1, 4096);
}

void EvalConfig::describe(ConfigSection& s) {
  s.value("at_end", at_end,
          "asked once training has ended and its memory is free, to OUT/eval_1.h5 and so on, of a run with [gist]: "
          "\"lengths=1000,3000 depths=5 limit=64\"; further keys, task, distractors, dataset, segment, systems, seed, full");
  s.value("targets", targets, "with the public gist experiment's six targets, as braid eval has them");
}

void RunConfig::describe(ConfigSection& s) {
  s.table("model", model, "the shape of the model");
  s.table("lora", lora, "low-rank adapters that are trained instead of the model's own weights");
  s.table("memory", memory, "hash memory: tables that layers look up by the last few tokens");
  s.table("gist", gist, "gist tokens: contexts compressed to the keys and values of a few learned vectors");
  s.table("data", data, "what it is trained on");
  s.table("needles", needles, "texts with keys in sentences, and questions for them (data.kind = \"needles\")");
  s.table("optim", optim, "AdamW, its schedule and clipping");
  s.table("train", train, "the training loop: steps, batch, seed, precision, evaluation");
  s.table("parallel", parallel, "how the run is spread over its ranks");
  s.table("eval", eval, "what is evaluated by itself when a run has ended");
  s.table("checkpoint", checkpoint, "when the run's state is saved, and how much of it is kept");
  s.table("watchdog", watchdog, "how long ranks wait for each other");
  s.table("sweep", sweep, "several runs from one file (braid sweep): each combination of its lists");
}

namespace {

template <class T>
void require_positive(const char* key, const std::vector<T>& values, const ConfigDocument& document) {
  for (const T value : values) {
    if (value > 0) continue;
    throw UsageError(str(document.where(key), ": ", key, ": expected numbers above 0, found ", value));
  }
}

using Words = std::vector<std::string>;

// "residual, hc or mhc".
std::string choices_text(const Words& choices) {
  std::string text = choices.front();
  for (size_t i = 1; i < choices.size(); ++i) text += (i + 1 < choices.size() ? ", " : " or ") + choices[i];
  return text;
}

void require_choices(const char* key, const Words& values, const Words& choices, const ConfigDocument& document) {
  for (const std::string& value : values) {
    if (std::find(choices.begin(), choices.end(), value) != choices.end()) continue;
    throw UsageError(
        str(document.where(key), ": ", key, ": expected ", choices_text(choices), ", found \"", value, "\""));
  }
}

// A list that has an entry for each of another one.
void require_as_many(const char* key, size_t found, size_t expected, const char* of_what,
                     const ConfigDocument& document) {
  if (found == 0 || found == expected) return;
  throw UsageError(str(document.where(key), ": ", key, ": expected one number for each of the ", expected, " ", of_what,
                       ", found ", found));
}

void check_connections(const SweepConfig& sweep, const ConfigDocument& document) {
  require_choices("sweep.residual", sweep.residual, {"residual", "hc", "mhc"}, document);
  require_choices("sweep.forms", sweep.forms, {"poc", "paper"}, document);
  require_choices("sweep.manifolds", sweep.manifolds, {"sinkhorn", "permutations"}, document);
  require_choices("sweep.starts", sweep.starts, {"home", "zeros", "identity", "zeros_random", "identity_random"},
                  document);
  require_positive("sweep.iterations", sweep.iterations, document);
  for (const int64_t streams : sweep.streams) {
    if (streams >= 1 && streams <= 8) continue;
    throw UsageError(
        str(document.where("sweep.streams"), ": sweep.streams: expected numbers from 1 to 8, found ", streams));
  }
}

void check_sweep(const SweepConfig& sweep, const ConfigDocument& document) {
  check_connections(sweep, document);
  require_choices("sweep.tasks", sweep.tasks,
                  {"incrementing", "bytes", "tokens", "copy", "induction", "modular_sum", "passkey"}, document);
  require_choices("sweep.precisions", sweep.precisions, {"fp32", "bf16"}, document);
  require_positive("sweep.vocabulary", sweep.vocabulary, document);
  require_positive("sweep.epochs", sweep.epochs, document);
  require_positive("sweep.learning_rates", sweep.learning_rates, document);
  require_positive("sweep.lora_ranks", sweep.lora_ranks, document);
  require_as_many("sweep.batch", sweep.batch.size(), sweep.layers.size(), "depths in sweep.layers", document);
  require_as_many("sweep.vocabulary", sweep.vocabulary.size(), sweep.tasks.size(), "tasks in sweep.tasks", document);
}

// Both begin their messages with the key: "lora.targets: expected …".
void check_additions(const RunConfig& config, const ConfigDocument& document) {
  try {
    config.lora.check(config.model);
    config.memory.check(config.model);
    if (config.memory.trains_model && config.lora.enabled()) {
      throw UsageError("memory.trains_model: with adapters (lora.rank) the model's own weights are frozen");
    }
  } catch (const UsageError& problem) {
    const std::string what = problem.what();
    throw UsageError(str(document.where(what.substr(0, what.find(':'))), ": ", what));
  }
}

// Adapters on gists alone leave no use for what acts elsewhere; a distilled answer needs a model that gives one.
void check_gist_adapters(const RunConfig& config, const auto& refuse) {
  const LoraConfig& lora = config.lora;
  const bool on_head = std::find(lora.targets.begin(), lora.targets.end(), "lm_head") != lora.targets.end();
  if (config.gist.distillation > 0 && !lora.enabled()) {
    refuse("gist.distillation", "it needs adapters (lora.rank), so that the model as it was can be asked");
  }
  if (!lora.enabled()) return;
  if (lora.dropout > 0) refuse("lora.dropout", str("expected 0, found ", lora.dropout));
  if (!lora.saved_modules.empty() && (lora.on_gists() || config.gist.distillation > 0)) {
    refuse("lora.saved_modules", "lora.rows = \"gist\" or distillation, expected none");
  }
  const std::vector<GistPhase> phases = config.gist.read_phases();
  const auto reads_raw = [](const GistPhase& phase) { return phase.raw > 0; };
  if (lora.on_gists() && std::any_of(phases.begin(), phases.end(), reads_raw)) {
    refuse("gist.phases", "lora.rows = \"gist\": what reads raw segments is frozen, expected no raw=");
  }
  if (lora.on_gists() && on_head) refuse("lora.targets", "lora.rows = \"gist\", expected no lm_head");
}

// The data of a gist run is made by its phases; what it is not built for is refused.
void check_gist(const RunConfig& config, const ConfigDocument& document) {
  if (!config.eval.at_end.empty() && (!config.gist.enabled() || !config.checkpoint.at_end)) {
    throw UsageError(str(document.where("eval.at_end"), ": eval.at_end: expected a run with [gist] and with "
                         "checkpoint.at_end = true, whose last checkpoint is asked"));
  }
  const auto refuse = [&](const std::string& key, const std::string& problem) {
    throw UsageError(str(document.where(key), ": ", key, ": with [gist] ", problem));
  };
  const bool needles = config.data.kind == "needles";
  if (!config.gist.enabled() && needles) {
    throw UsageError(str(document.where("data.kind"), ": data.kind: \"needles\" needs gist.count, found 0"));
  }
  if (!config.gist.enabled() && config.lora.on_gists()) {
    throw UsageError(str(document.where("lora.rows"), ": lora.rows: \"gist\" needs gist.count, found 0"));
  }
  if (!config.gist.enabled()) return;
  try {
    config.gist.check(config.model);
    config.needles.check();
  } catch (const UsageError& problem) {
    const std::string what = problem.what();
    throw UsageError(str(document.where(what.substr(0, what.find(':'))), ": ", what));
  }
  if (config.data.kind != "passkey" && !needles) {
    refuse("data.kind", str("expected passkey or needles, found \"", config.data.kind, "\""));
  }
  const bool bytes = needles && config.data.tokenizer.empty() && config.model.path.empty();
  const int64_t least = bytes ? byte_vocabulary : passkey::vocabulary;
  if (config.model.vocabulary < least && (bytes || !needles)) {
    refuse("model.vocabulary", str("expected at least ", least, ", found ", config.model.vocabulary));
  }
  if (config.memory.enabled()) refuse("memory.layers", "a hash memory is not trained");
  const int64_t positions = config.gist.positions(needles ? config.needles.question_tokens : passkey::question_tokens);
  if (!config.model.path.empty() && positions > config.model.context) {
    refuse("model.context", str("expected at least ", positions, ", what a segment, its gists and a question need, or with "
                                "distillation the longest context and a question; found ", config.model.context));
  }
  check_gist_adapters(config, refuse);
}

void check_streams(const RunConfig& config, const ConfigDocument& document) {
  if (!config.train.has_narrow_streams() || !config.model.has_streams() || has_fused_connections(config.model)) return;
  throw UsageError(str(document.where("train.stream_precision"), ": train.stream_precision: expected fp32 where streams are not 2, 4 "
                       "or 8 in the paper's form (model.connection_form), found ", config.model.streams, " in the form \"",
                       config.model.connection_form, "\""));
}

void check_quantised(const RunConfig& config, const ConfigDocument& document) {
  if (!config.model.is_quantised()) return;
  try {
    QuantisedProjections{config.model};
  } catch (const UsageError& problem) {
    throw UsageError(str(document.where("model.dense_modules"), ": ", problem.what()));
  }
  if (!config.lora.enabled()) {
    throw UsageError(str(document.where("lora.rank"), ": lora.rank: expected 1 or more, since model.quantise is \"",
                         config.model.quantise, "\" and weights in 4 bits are frozen, found ", config.lora.rank));
  }
}

}  // namespace

RunConfig read_run_config(const ConfigDocument& document) {
  RunConfig config;
  document.read_into(config);
  if (!config.model.path.empty()) take_shape(config.model, document);
  if (!config.lora.path.empty()) take_adapter(config.lora, config.model, document);
  config.model.check(document);
  check_additions(config, document);
  check_gist(config, document);
  check_streams(config, document);
  check_quantised(config, document);
  check_parallel(config, document);
  check_sweep(config.sweep, document);
  if (config.checkpoint.keep_best && config.train.eval_every == 0) {
    throw UsageError(str(document.where("checkpoint.keep_best"),
                         ": checkpoint.keep_best: needs evaluations, train.eval_every > 0"));
  }
  return config;
}

namespace {

// The shortest text that reads back as this number.
std::string shortest(double value) {
  char text[32];
  const auto [end, problem] = std::to_chars(text, text + sizeof text, value);
  return std::string(text, end);
}

// "_paper_permutations_n2" of what is listed and concerns these connections.
std::string connection_name(const ModelConfig& model, const SweepConfig& sweep) {
  std::string name;
  if (model.residual == "residual") return name;
  if (!sweep.forms.empty()) name += "_" + model.connection_form;
  if (!sweep.manifolds.empty() && model.has_manifold()) name += "_" + model.manifold;
  if (!sweep.starts.empty() && model.has_manifold()) name += "_" + model.connection_start;
  if (!sweep.streams.empty()) name += str("_n", model.streams);
  if (!sweep.iterations.empty() && model.iterates()) name += str("_k", model.sinkhorn_iterations);
  return name;
}

}  // namespace

std::string run_name(const RunConfig& config, const SweepConfig& sweep) {
  const std::string& residual = config.model.residual;
  std::string name = str(config.model.layers, "l_", residual == "residual" ? "baseline" : residual);
  name += connection_name(config.model, sweep);
  if (!sweep.tasks.empty()) name += "_" + config.data.kind;
  if (!sweep.precisions.empty()) name += "_" + config.train.precision;
  if (!sweep.epochs.empty()) name += str("_e", config.train.epochs);
  if (!sweep.learning_rates.empty()) name += "_lr" + shortest(config.optim.learning_rate);
  if (!sweep.lora_ranks.empty()) name += str("_r", config.lora.rank);
  return name + str("_s", config.train.seed);
}

}  // namespace braid
