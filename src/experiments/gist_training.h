// SPDX-License-Identifier: Apache-2.0
// Learning to compress: what each step trains on, the loss of answers from gists, and how well they are given freely.
#pragma once

#include <memory>

#include "experiments/gist_loss.h"
#include "experiments/gist_tasks.h"
#include "experiments/run_config.h"
#include "nn/gist.h"
#include "nn/gist_segments.h"
#include "train/trainer.h"

namespace braid {

// A [gist] run's part of a TrainTask: plan, phases, held-out loss and the table "gist".
class GistTraining {
 public:
  GistTraining(GistModel& gists, const RunConfig& config, TrainRanks ranks);
  void add_to(TrainTask& task) const;
  void add_to(ExtraMetrics& extra);  // columns of /train: the further terms of the loss, where it has any
  static TableSpec table();          // the table "gist"

 private:
  GistForm form_of(SegmentPlan segments, const ContextTask& task, bool trains) const;
  StepPlan plan(const RunPosition& position) const;
  Row measure(int64_t step, const Dataset& held_out) const;
  void sum_terms(bool counts);
  MostOfRanks most_of_ranks(const RunConfig& config) const;

  GistModel& gists_;
  GistConfig config_;
  GistTasks tasks_;
  std::vector<GistPhase> phases_;
  uint64_t seed_;
  TrainRanks ranks_;
  MostOfRanks most_;  // where weights are gathered
  std::shared_ptr<GistTerms> terms_;  // of the step under way; null where the loss has none
};

// First values, and train.steps and train.batch as the phases have them.
void initialise_gist_model(GistModel& gists, const RunConfig& config);
void follow_phases(RunConfig& config);

}  // namespace braid
