// SPDX-License-Identifier: Apache-2.0
// A whole configuration file: one table per part, each described by the part itself.
#pragma once

#include <string>
#include <vector>

#include "data/data_config.h"
#include "experiments/gist_config.h"
#include "nn/hash_memory_config.h"
#include "nn/lora_config.h"
#include "nn/model_config.h"
#include "optim/optim_config.h"
#include "train/checkpoint_config.h"
#include "train/train_config.h"
#include "train/watchdog_config.h"

namespace braid {

// [sweep]: the product of all lists, each combination a run of its own.
struct SweepConfig {
  std::vector<int64_t> layers;
  std::vector<std::string> residual;
  std::vector<int64_t> epochs;
  std::vector<double> learning_rates;
  std::vector<int64_t> lora_ranks;
  std::vector<int64_t> seeds;
  std::vector<int64_t> batch;  // one per entry of layers; empty: train.batch
  // "NAME: KEY=VALUE; KEY=VALUE", each a run that differs in just these; "NAME:" is the file as it stands.
  std::vector<std::string> variations;
  int64_t side_by_side = 1;    // runs at the same time, on equal groups of ranks

  void describe(ConfigSection& section);
};

// [eval]: what follows a training run.
struct EvalConfig {
  std::vector<std::string> at_end;  // a suite each (read_gist_test)
  bool targets = false;             // with the public experiment's six targets

  void describe(ConfigSection& section);
};

struct RunConfig {
  ModelConfig model;
  LoraConfig lora;
  HashMemoryConfig memory;
  GistConfig gist;
  DataConfig data;
  OptimConfig optim;
  TrainConfig train;
  EvalConfig eval;
  CheckpointConfig checkpoint;
  WatchdogConfig watchdog;
  SweepConfig sweep;

  void describe(ConfigSection& section);
};

// Reads, applies overrides and checks what can be checked without data or ranks. UsageError.
RunConfig read_run_config(const ConfigDocument& document);

// "12l_mhc_s0", "30l_baseline_e3_lr2e-05_r16_s0": how a run is named in sweeps and reports. Epochs, rate and rank of
// adapters are in it where `sweep` lists them; a variation's name is put behind by plan_sweep.
std::string run_name(const RunConfig& config, const SweepConfig& sweep);

}  // namespace braid
