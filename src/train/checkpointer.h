// SPDX-License-Identifier: Apache-2.0
// Saves a run's state while it goes on: stage() copies this rank's share into host memory, launch() has it written and
// committed in the background (checkpoint_writer.h). One save is under way at a time.
#pragma once

#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "train/checkpoint_writer.h"
#include "train/run_position.h"
#include "train/state_tensors.h"

namespace braid {

class Checkpointer {
 public:
  // Collective: the ranks' writing threads talk over a communicator of their own, so that they never wait behind
  // training's messages. `tensors` are whole on every rank, or its own.
  Checkpointer(CheckpointTask task, std::vector<StateTensor> tensors, Communicator& host);
  // Waits for the save under way, but not while an exception ends this rank: the others may never answer.
  ~Checkpointer();
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;

  bool due(int64_t step) const { return config().every > 0 && step % config().every == 0; }
  // Waits for the save under way, if any, then copies. The tensors may change as soon as it returns. Returns the seconds
  // for which the caller was held up.
  double stage(const RunPosition& position);
  void launch();
  void finish();  // waits for the save under way

  // What ended since the last call, oldest first. Ranks may learn of one at different steps.
  std::vector<SaveReport> take_reports();
  bool failed() const { return failed_; }                // the last save that ended was not committed
  int64_t committed_step() const { return committed_; }  // newest that was committed or is trusted, -1: none
  void trust(int64_t step);                              // a checkpoint that was verified
  void distrust(int64_t step);                           // one that turned out to be damaged
  double estimated_seconds() const;                      // of a save, from the last one or its size

  const std::vector<StateTensor>& tensors() const { return tensors_; }
  const CheckpointConfig& config() const { return writer_->task().config; }

 private:
  void collect();

  std::vector<StateTensor> tensors_, share_;
  std::shared_ptr<CheckpointWriter> writer_;  // shared with the writing thread, which may be left behind
  at::Tensor buffer_;  // bytes of the share, pinned where the tensors are on a GPU
  std::optional<StagedSave> staged_;
  std::thread thread_;
  std::future<SaveReport> under_way_;
  std::vector<SaveReport> reports_;
  std::vector<int64_t> trusted_;
  int64_t committed_ = -1;
  double last_seconds_ = -1;
  bool failed_ = false;
};

}  // namespace braid
