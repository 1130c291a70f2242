// SPDX-License-Identifier: Apache-2.0
// A whole configuration file: one table per part, each described by the part itself.
#pragma once

#include <string>
#include <vector>

#include "data/data_config.h"
#include "data/needle_config.h"
#include "experiments/gist_config.h"
#include "nn/hash_memory_config.h"
#include "nn/lora_config.h"
#include "nn/model_config.h"
#include "optim/optim_config.h"
#include "parallel/parallel_config.h"
#include "train/checkpoint_config.h"
#include "train/train_config.h"
#include "train/watchdog_config.h"

namespace braid {

// [sweep]: the product of all lists, each combination that can be and means something a run of its own.
struct SweepConfig {
  std::vector<int64_t> layers;
  std::vector<std::string> tasks;    // data.kind
  std::vector<int64_t> vocabulary;   // one per entry of tasks; empty: model.vocabulary
  std::vector<std::string> residual;
  // Of connections with streams; what such a list does not concern is run once.
  std::vector<std::string> forms, manifolds, starts;
  std::vector<int64_t> streams, iterations;
  std::vector<std::string> precisions;
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
  NeedleConfig needles;
  OptimConfig optim;
  TrainConfig train;
  ParallelConfig parallel;
  EvalConfig eval;
  CheckpointConfig checkpoint;
  WatchdogConfig watchdog;
  SweepConfig sweep;

  void describe(ConfigSection& section);
};

// Reads, applies overrides and checks what can be checked without data or ranks. UsageError.
RunConfig read_run_config(const ConfigDocument& document);

// "12l_mhc_s0", "48l_mhc_paper_k5_copy_s0", "30l_baseline_e3_lr2e-05_r16_s0": how a run is named in sweeps and reports.
// What is neither depth, kind of connection nor seed is in it where `sweep` lists it and the run has it. A variation's name
// is put behind by plan_sweep.
std::string run_name(const RunConfig& config, const SweepConfig& sweep);

}  // namespace braid
