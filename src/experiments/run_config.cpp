// SPDX-License-Identifier: Apache-2.0
#include "experiments/run_config.h"

#include "base/error.h"
#include "experiments/pretrained.h"

namespace braid {

void SweepConfig::describe(ConfigSection& s) {
  s.value("layers", layers, "model.layers of each run; empty: the one of [model] [blocks]");
  s.value("residual", residual, "model.residual of each run: residual, hc, mhc; empty: the one of [model]");
  s.value("seeds", seeds, "train.seed of each run; empty: the one of [train]");
  s.value("batch", batch,
          "train.batch of each entry of sweep.layers, in the same order; empty: the one of [train] [samples]");
  s.value("side_by_side", side_by_side, "runs at the same time, on equal groups of the ranks [runs]", 1, 4096);
}

void RunConfig::describe(ConfigSection& s) {
  s.table("model", model, "the shape of the model");
  s.table("lora", lora, "low-rank adapters that are trained instead of the model's own weights");
  s.table("memory", memory, "hash memory: tables that layers look up by the last few tokens");
  s.table("data", data, "what it is trained on");
  s.table("optim", optim, "AdamW, its schedule and clipping");
  s.table("train", train, "the training loop: steps, batch, seed, precision, evaluation");
  s.table("checkpoint", checkpoint, "when the run's state is saved, and how much of it is kept");
  s.table("watchdog", watchdog, "how long ranks wait for each other");
  s.table("sweep", sweep, "several runs from one file (braid sweep): each combination of layers, residual and seeds");
}

namespace {

void check_sweep(const SweepConfig& sweep, const ConfigDocument& document) {
  for (const std::string& residual : sweep.residual) {
    if (residual == "residual" || residual == "hc" || residual == "mhc") continue;
    throw UsageError(str(document.where("sweep.residual"), ": sweep.residual: expected residual, hc or mhc, found \"",
                         residual, "\""));
  }
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

}  // namespace

RunConfig read_run_config(const ConfigDocument& document) {
  RunConfig config;
  document.read_into(config);
  if (!config.model.path.empty()) take_shape(config.model, document);
  config.model.check(document);
  check_additions(config, document);
  check_sweep(config.sweep, document);
  return config;
}

RunConfig stored_run_config(const std::string& text, const std::string& origin) {
  RunConfig config;
  if (!text.empty()) ConfigDocument::from_text(text, origin + ": its configuration").read_into(config);
  return config;
}

std::string run_name(const ModelConfig& model, int64_t seed) {
  const std::string variant = model.residual == "residual" ? "baseline" : model.residual;
  return str(model.layers, "l_", variant, "_s", seed);
}

}  // namespace braid
