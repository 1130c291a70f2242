// SPDX-License-Identifier: Apache-2.0
// Writes and commits one checkpoint at a time on a thread of each rank: every rank its shard, rank 0 the manifest, last
// of all the rename that makes it a checkpoint.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "store/checkpoint_folder.h"
#include "store/checkpoint_manifest.h"
#include "train/checkpoint_config.h"

namespace braid {

struct CheckpointTask {
  std::string root;            // OUT/checkpoints
  RunAttributes attributes;    // of the manifest's root: run_id, config, data_digest, versions, …
  CheckpointConfig config;
  std::function<void()> before_commit;  // on rank 0's writing thread: what must be on disk before the checkpoint is
};

struct SaveReport {
  int64_t step = 0;
  std::string problem;  // "" when it was committed; the same text on every rank
  std::string warning;  // rank 0: an old checkpoint that could not be removed
  int64_t bytes = 0;    // of all ranks' files
  double seconds = 0;   // from the copy to the commit
};

// What a rank hands over; `slices` point into memory that stays as it is until the save has ended.
struct StagedSave {
  int64_t step = 0;
  CheckpointState state;
  std::vector<SliceData> slices;
  std::vector<int64_t> trusted;  // checkpoints that count as kept (prune_checkpoints)
};

class CheckpointWriter {
 public:
  CheckpointWriter(CheckpointTask task, std::unique_ptr<Communicator> comm);
  // Collective; never throws what the ranks can agree on.
  SaveReport write(const StagedSave& staged);
  const CheckpointTask& task() const { return task_; }
  int ranks() const { return comm_->size(); }

 private:
  void write_and_commit(const StagedSave& staged, SaveReport& report);
  std::vector<ShardRecord> write_shards(const StagedSave& staged);
  std::string prune(const StagedSave& staged) const;

  CheckpointTask task_;
  std::unique_ptr<Communicator> comm_;
};

}  // namespace braid
