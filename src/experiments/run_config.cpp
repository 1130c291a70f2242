// SPDX-License-Identifier: Apache-2.0
#include "experiments/run_config.h"

#include <charconv>

#include "base/error.h"
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
  s.table("optim", optim, "AdamW, its schedule and clipping");
  s.table("train", train, "the training loop: steps, batch, seed, precision, evaluation");
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

// The data of a gist run is made by its phases; what it is not built for is refused.
void check_gist(const RunConfig& config, const ConfigDocument& document) {
  if (!config.eval.at_end.empty() && (!config.gist.enabled() || !config.checkpoint.at_end)) {
    throw UsageError(str(document.where("eval.at_end"), ": eval.at_end: expected a run with [gist] and with "
                         "checkpoint.at_end = true, whose last checkpoint is asked"));
  }
  const auto refuse = [&](const std::string& key, const std::string& problem) {
    throw UsageError(str(document.where(key), ": ", key, ": with [gist] ", problem));
  };
  if (!config.gist.enabled()) return;
  try {
    config.gist.check(config.model);
  } catch (const UsageError& problem) {
    const std::string what = problem.what();
    throw UsageError(str(document.where(what.substr(0, what.find(':'))), ": ", what));
  }
  if (config.data.kind != "passkey") refuse("data.kind", str("expected passkey, found \"", config.data.kind, "\""));
  if (config.model.vocabulary < passkey::vocabulary) {
    refuse("model.vocabulary", str("expected at least ", passkey::vocabulary, ", found ", config.model.vocabulary));
  }
  if (!config.model.path.empty()) refuse("model.path", "a model is trained from its first values");
  if (config.lora.enabled()) refuse("lora.rank", "adapters are not trained");
  if (config.memory.enabled()) refuse("memory.layers", "a hash memory is not trained");
  if (config.train.recompute) refuse("train.recompute", "activations are always kept");
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
