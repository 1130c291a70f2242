// SPDX-License-Identifier: Apache-2.0
#include "experiments/run_config.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "data/needle_stream.h"
#include "data/passkey_task.h"
#include "experiments/pretrained.h"

namespace braid {

void SweepConfig::describe(ConfigSection& s) {
  s.value("layers", layers, "model.layers of each run; empty: the one of [model] [blocks]");
  s.value("residual", residual, "model.residual of each run: residual, hc, mhc; empty: the one of [model]");
  s.value("epochs", epochs, "train.epochs of each run; empty: the one of [train] [epochs]");
  s.value("learning_rates", learning_rates, "optim.learning_rate of each run; empty: the one of [optim] [1]");
  s.value("lora_ranks", lora_ranks, "lora.rank of each run; empty: the one of [lora] [1]");
  s.value("seeds", seeds, "train.seed of each run; empty: the one of [train]");
  s.value("batch", batch,
          "train.batch of each entry of sweep.layers, in the same order; empty: the one of [train] [samples]");
  s.value("side_by_side", side_by_side, "runs at the same time, on equal groups of the ranks [runs]", 1, 4096);
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

void check_sweep(const SweepConfig& sweep, const ConfigDocument& document) {
  for (const std::string& residual : sweep.residual) {
    if (residual == "residual" || residual == "hc" || residual == "mhc") continue;
    throw UsageError(str(document.where("sweep.residual"), ": sweep.residual: expected residual, hc or mhc, found \"",
                         residual, "\""));
  }
  require_positive("sweep.epochs", sweep.epochs, document);
  require_positive("sweep.learning_rates", sweep.learning_rates, document);
  require_positive("sweep.lora_ranks", sweep.lora_ranks, document);
  if (!sweep.batch.empty() && sweep.batch.size() != sweep.layers.size()) {
    throw UsageError(str(document.where("sweep.batch"), ": sweep.batch: expected one number for each of the ",
                         sweep.layers.size(), " depths in sweep.layers, found ", sweep.batch.size()));
  }
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
  if (lora.on_gists() && on_head) refuse("lora.targets", "lora.rows = \"gist\", expected no lm_head");
}

// The data of a gist run is made by its phases; what it is not built for is refused.
void check_gist(const RunConfig& config, const ConfigDocument& document) {
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
  check_quantised(config, document);
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

}  // namespace

std::string run_name(const RunConfig& config, const SweepConfig& sweep) {
  const std::string& residual = config.model.residual;
  std::string name = str(config.model.layers, "l_", residual == "residual" ? "baseline" : residual);
  if (!sweep.epochs.empty()) name += str("_e", config.train.epochs);
  if (!sweep.learning_rates.empty()) name += "_lr" + shortest(config.optim.learning_rate);
  if (!sweep.lora_ranks.empty()) name += str("_r", config.lora.rank);
  return name + str("_s", config.train.seed);
}

}  // namespace braid
