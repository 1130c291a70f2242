// SPDX-License-Identifier: Apache-2.0
// Learning to compress: what each step trains on, the loss of answers from gists, and how well they are given freely.
#pragma once

#include <memory>

#include "experiments/run_config.h"
#include "nn/gist.h"
#include "nn/gist_segments.h"
#include "train/trainer.h"

namespace braid {

// The loss of answers alone: samples hold a context and, in their last `question_tokens`, question and answer.
struct GistForm {
  SegmentPlan segments;
  int64_t question_tokens = 0;
};
at::Tensor gist_loss(GistModel& gists, const GistForm& form, const Batch& batch, int64_t first, int64_t count,
                     double scale, LossTotals& totals);
// The same where every rank has all samples: it compresses its part of the segments, receives all gists and answers its
// part of the samples. Losses and counts of the ranks add up to those of gist_loss; so do gradients.
at::Tensor shared_gist_loss(GistModel& gists, const GistForm& form, Communicator& comm, const Batch& batch,
                            int64_t first, int64_t count, double scale, LossTotals& totals);

// A [gist] run's part of a TrainTask: plan, phases, held-out loss and the table "gist".
class GistTraining {
 public:
  GistTraining(GistModel& gists, const RunConfig& config, TrainRanks ranks);
  void add_to(TrainTask& task) const;
  static TableSpec table();  // the table "gist"
  // Held-out contexts of gist.eval_length; also what stands for the training data in records.
  static std::unique_ptr<Dataset> open(const RunConfig& config, Split split);

 private:
  StepPlan plan(const RunPosition& position) const;
  Row measure(int64_t step, const Dataset& held_out) const;

  GistModel& gists_;
  GistConfig config_;
  std::vector<GistPhase> phases_;
  uint64_t seed_;
  TrainRanks ranks_;
};

// First values, and train.steps and train.batch as the phases have them.
void initialise_gist_model(GistModel& gists, const RunConfig& config);
void follow_phases(RunConfig& config);

}  // namespace braid
