// SPDX-License-Identifier: Apache-2.0
// A sweep is a list of named runs and what became of each. The list lives in OUT/sweep.json, so that a restart, a report
// and a reader see the same: which runs there should be, how often each was tried, how it ended.
#pragma once

#include <string>
#include <vector>

#include "experiments/run_config.h"

namespace braid {

struct SweepRun {
  std::string name;
  RunConfig config;
  int64_t attempts = 0;            // starts so far without a new checkpoint
  std::string state = "waiting";   // waiting, running, done, diverged, failed
  std::string message;
  int64_t saved_step = -1;         // of its newest checkpoint when it was started last, -1: none
  bool finished() const { return state == "done" || state == "diverged" || state == "failed"; }
};

struct SweepPlan {
  std::string out;
  std::vector<SweepRun> runs;
  std::string folder(const SweepRun& run) const { return out + "/" + run.name; }
};

constexpr int64_t sweep_attempts = 2;  // a run that died this often without a new checkpoint is recorded as failed

// Of the runs that experiments/sweep_axes.h makes of [sweep].
SweepPlan plan_sweep(const RunConfig& config, const std::string& out);

// Takes over attempts and ends from OUT/sweep.json and from the runs' own run.h5. UsageError when OUT holds a sweep of
// other runs. A run found "running" has died: it goes back to waiting, or to failed after its last attempt.
void recover(SweepPlan& plan);

// Writes OUT/sweep.json in one rename.
void save(const SweepPlan& plan);

// The same where there is none yet. Several jobs that each make one run of the sweep may do so at once.
void save_if_new(const SweepPlan& plan);

// OUT/configs/<name>.toml: what the run's own process reads.
void write_run_config(const SweepPlan& plan, const SweepRun& run);

// Before a run starts (again): counts the attempt. What an earlier one without a checkpoint left moves to
// OUT/attempts/<name>-<k>; with one it goes on.
void begin_attempt(SweepPlan& plan, SweepRun& run);

// After it ended: reads /status of its run.h5. A run that did not end by itself has failed, or may be tried again.
void settle(SweepPlan& plan, SweepRun& run, const std::string& trouble);

// Final losses and rates, one line a run.
std::string sweep_table(const SweepPlan& plan);

}  // namespace braid
