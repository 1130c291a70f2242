// SPDX-License-Identifier: Apache-2.0
// The training loop. An experiment hands over a model, data and columns of its own; this knows nothing else about it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "comm/mesh.h"
#include "comm/world.h"
#include "data/dataset.h"
#include "nn/lora_model.h"
#include "nn/transformer.h"
#include "parallel/pipeline.h"
#include "train/checkpointer.h"
#include "train/curriculum.h"
#include "train/run_position.h"
#include "train/run_recorder.h"
#include "train/step_policy.h"
#include "train/stop_request.h"
#include "train/time_limit.h"
#include "train/trained_sets.h"
#include "train/train_config.h"

namespace braid {

struct TrainTask {
  Transformer& model;
  std::vector<TrainedSet> trained;  // what of it, and of what was put on it, is updated
  LoraModel* adapters = nullptr;    // whose dropout follows the run's position
  const Dataset& data;
  const Dataset* held_out = nullptr;
  TrainConfig train;
  OptimConfig optim;  // schedule and clipping
  CheckpointTask checkpoint;
  ExtraMetrics extra;
  TimeLimit limit;  // looked at on rank 0
  std::function<void()> on_first_step;  // when it is done: what took its time only once is over
  // Where steps differ: what the next one trains on, instead of train.batch samples of `data`; the phases, if any, that
  // the run is over with; the loss of held-out samples, and what else is measured there.
  std::function<StepPlan(const RunPosition&)> plan = {};
  std::vector<PhaseLimits> phases = {};
  BatchLoss held_out_loss = {};
  std::function<void(EnterBlock)> enter_blocks = {};  // takes what passes of the plan's own call at each block
  ExtraEvaluation more = {};
  Sharding sharding = Sharding::none;
  std::shared_ptr<const ShardGroups> groups = nullptr;  // that it is spread in
  std::shared_ptr<ShardedFrozen> frozen = nullptr;      // of the model, where that is spread, too
  Pipeline* pipeline = nullptr;                         // of which `model` is a stage
};

// How a run ended: what /status says, on every rank.
struct RunOutcome {
  std::string state = "done";  // done, diverged, preempted, stopped
  int64_t last_step = -1;
  std::string message;
  double last_loss = 0;
};

class Trainer {
 public:
  // The ranks of the mesh's data axis share a batch, and each needs at least one sample of it; those of its context axis
  // share each sample. The mesh must outlive it. Collective.
  Trainer(TrainTask task, const Mesh& mesh, RunRecorder& recorder, StopRequest& stop_request);
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  // Takes over tensors and position of a checkpoint that every rank's share has been verified of. Collective; AgreedError.
  void resume(const std::string& checkpoint, const Manifest& manifest);
  RunOutcome run();
  int64_t step() const { return position_.step; }  // the step under way

 private:
  // What the ranks have agreed on with the step's sums.
  struct Flags {
    bool stop = false, out_of_time = false, save_failed = false;
    static constexpr int64_t count = 3;
  };

  // Samples of this rank's batch that pass together; `counts`: not a stand-in for what only other ranks have.
  struct MicroBatch {
    int64_t first = 0, count = 0;
    bool counts = true;
  };

  StepPlan next_plan() const;
  Slice mine() const;  // of the step's samples
  bool is_idle() const;
  bool at_end() const;
  Batch fetch() const;
  double global_targets(const Batch& batch);
  std::vector<MicroBatch> micro_batches(const Batch& batch) const;
  void forward_backward(const Batch& batch, double targets);
  void run_pipeline(const Batch& batch, double targets);
  void set_dropout(const Batch& batch, const MicroBatch& pass);
  StepNumbers read_numbers(double targets);
  at::Tensor my_flags() const;
  double learning_rate() const;
  void update(const StepNumbers& numbers);
  void finish_step(const StepNumbers& numbers, const Verdict& verdict, double seconds);
  void advance_phase(double loss);
  bool save_is_due(const Verdict& verdict) const;
  void rewind(const Verdict& verdict);
  std::string newest_verified(Manifest& manifest);
  void report_saves();
  void maybe_evaluate();
  std::optional<RunOutcome> ended_early(const Verdict& verdict);
  RunOutcome done_early();
  RunOutcome stopped_with_checkpoint(const std::string& reason);

  TrainTask task_;
  TrainRanks ranks_;     // all
  TrainRanks replicas_;  // those that share a batch
  const Mesh& mesh_;
  RunRecorder& recorder_;
  StopRequest& stop_request_;
  TrainedSets sets_;
  Checkpointer checkpointer_;
  LossTotals totals_;
  StepPlan plan_;  // of the step under way
  RunPosition position_;
  Flags flags_;
  double slowest_step_ = 0;  // seconds, of the last few
};

}  // namespace braid
