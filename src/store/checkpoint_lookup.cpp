// SPDX-License-Identifier: Apache-2.0
#include "store/checkpoint_lookup.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "store/checkpoint_manifest.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code problem;
  for (fs::directory_iterator at(folder, problem), end; !problem && at != end; at.increment(problem)) {
    names.push_back(at->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// One that has lost its manifest is still one, and damaged.
bool is_checkpoint(const std::string& folder) {
  const std::vector<std::string> names = names_in(folder);
  return std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return name == manifest_name || (name.starts_with("shard-") && name.ends_with(".h5"));
  });
}

}  // namespace

CheckpointsFound find_checkpoints(const std::string& path) {
  std::error_code problem;
  if (!fs::is_directory(path, problem)) {
    const bool there = fs::exists(path, problem);
    throw UsageError(str(path, there ? ": not a folder; a checkpoint or a run is one" : ": no such folder"));
  }
  if (is_checkpoint(path)) return {{path}, ""};
  for (const std::string& root : {checkpoints_of(path), path}) {
    CheckpointsFound found{{}, root};
    for (const CheckpointPath& checkpoint : list_checkpoints(root)) found.checkpoints.push_back(checkpoint.path);
    if (!found.checkpoints.empty()) return found;
  }
  throw UsageError(str(path, ": neither a checkpoint nor a run with checkpoints"));
}

std::string find_checkpoint(const std::string& path, std::optional<int64_t> step) {
  const CheckpointsFound found = find_checkpoints(path);
  if (!step) return found.checkpoints.front();
  if (found.root.empty()) throw UsageError(str("--step ", *step, ": ", path, " is one checkpoint, not a run"));
  std::string steps;
  for (const CheckpointPath& checkpoint : list_checkpoints(found.root)) {
    if (checkpoint.step == *step) return checkpoint.path;
    steps += str(steps.empty() ? "" : ", ", checkpoint.step);
  }
  throw UsageError(str("--step ", *step, ": ", path, " has no such checkpoint; it has ", steps));
}

std::optional<BestCheckpoint> best_checkpoint(const std::string& root) {
  std::optional<BestCheckpoint> best;
  for (const CheckpointPath& checkpoint : list_checkpoints(root)) {
    try {
      const CheckpointState state = read_manifest(checkpoint.path).state;
      if (!state.count(held_out_state)) continue;
      const double loss = state_double(state, held_out_state);
      if (!best || loss <= best->held_out_loss) best = {checkpoint, loss};
    } catch (const Error&) {
      continue;  // damaged, or of another version
    }
  }
  return best;
}

std::string find_checkpoint(const std::string& path, const CheckpointChoice& choice) {
  if (!choice.best) return find_checkpoint(path, choice.step);
  const CheckpointsFound found = find_checkpoints(path);
  if (found.root.empty()) throw UsageError(str("--best: ", path, " is one checkpoint, not a run"));
  if (const auto best = best_checkpoint(found.root)) return best->checkpoint.path;
  throw UsageError(str("--best: no checkpoint of ", path, " has a held-out loss; see checkpoint.keep_best"));
}

std::vector<std::string> leftovers_in(const std::string& root) {
  std::vector<std::string> found = names_in(root);
  std::erase_if(found, [](const std::string& name) {
    return !name.starts_with("step-") || (!name.ends_with(".tmp") && name.find(".broken-") == std::string::npos);
  });
  return found;
}

}  // namespace braid
