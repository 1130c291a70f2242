// SPDX-License-Identifier: Apache-2.0
// manifest.h5, written last: which tensors a checkpoint has, in which shard each slice lies and with which digest, and
// where the run stood. Its virtual datasets /view/<tensor> show whole tensors to h5py.
#pragma once

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "store/checkpoint_shard.h"

namespace braid {

using StateValue = std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>;
using CheckpointState = std::map<std::string, StateValue>;

struct Manifest {
  int64_t step = 0;          // updates made
  std::string created_utc;   // set when it is written
  RunAttributes attributes;  // root attributes: run_id, config, git_commit, world_size, …
  CheckpointState state;     // run position, schedule, what judges bad steps
  std::vector<ShardRecord> shards;

  const std::string& text(const std::string& attribute) const;  // "" where it has none
  // The whole tensors, by name.
  std::map<std::string, TensorSlice> tensors() const;
  int64_t bytes() const;  // of all shards
  // Made of a file of weights (checkpoint_convert.h): a run that begins with it has an optimiser without a past.
  bool imported() const { return !text("imported").empty(); }
};

// In the state of a checkpoint that was evaluated at its own step: the held-out loss there.
inline constexpr const char* held_out_state = "held_out_loss";

inline constexpr const char* manifest_name = "manifest.h5";

// Error when the slices do not cover every tensor, or the file cannot be written (it is then removed).
void write_manifest(const std::string& folder, const Manifest& manifest);
// Checks the seal before HDF5 opens the file. Error, also for a newer version.
Manifest read_manifest(const std::string& folder);

int64_t state_int(const CheckpointState& state, const std::string& name);       // Error where it is not there
double state_double(const CheckpointState& state, const std::string& name);
std::vector<int64_t> state_ints(const CheckpointState& state, const std::string& name);
std::vector<double> state_doubles(const CheckpointState& state, const std::string& name);

}  // namespace braid
