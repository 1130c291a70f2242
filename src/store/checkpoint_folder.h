// SPDX-License-Identifier: Apache-2.0
// A run's checkpoints, OUT/checkpoints/step-00001000/. A checkpoint is written under step-….tmp and becomes one by a
// rename; there is no pointer to the newest that could be wrong: the newest is the newest that verifies. All functions
// but the reading ones are for one process at a time (rank 0).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace braid {

struct CheckpointPath {
  int64_t step = 0;  // updates made
  std::string path;
};

std::string checkpoints_of(const std::string& run_folder);                // "OUT/checkpoints"
std::string checkpoint_path(const std::string& root, int64_t step);       // "ROOT/step-00001000"
std::string temporary_path(const std::string& root, int64_t step);        // "ROOT/step-00001000.tmp"

// Complete ones by name, newest first; nothing where there is no such folder. Their contents are not looked at.
std::vector<CheckpointPath> list_checkpoints(const std::string& root);

// Removes what killed saves left (*.tmp). Error.
void remove_stale(const std::string& root);
// An empty step-….tmp. Error.
void prepare_temporary(const std::string& root, int64_t step);
// Renames step-….tmp and makes it last. What has the name already is first renamed to step-….broken-K.
void commit_checkpoint(const std::string& root, int64_t step);
// Moves complete checkpoints of later steps out of the way, to step-….broken-K: a run that is told to go on from an
// earlier one would otherwise meet the later ones again. Returns their steps.
std::vector<int64_t> set_aside_later(const std::string& root, int64_t step);
// Gives the space of a save that failed back; never throws.
void discard_temporary(const std::string& root, int64_t step) noexcept;

struct Retention {
  int64_t last = 3;   // the newest so many stay, at least 1
  int64_t every = 0;  // and those whose step is a multiple of this; 0: none
  int64_t best = -1;  // and this one
};
// Removes checkpoints beyond what `retention` keeps. Only those in `trusted`, written or verified by this process, count
// as kept, so that a broken one never costs a good one its place. Returns the steps removed.
std::vector<int64_t> prune_checkpoints(const std::string& root, const Retention& retention,
                                       const std::vector<int64_t>& trusted);

}  // namespace braid
