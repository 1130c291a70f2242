// SPDX-License-Identifier: Apache-2.0
// The actions of braid checkpoint, and what they are asked. Each writes to standard output and returns an exit code.
#pragma once

#include <string>
#include <vector>

#include "store/checkpoint_lookup.h"

namespace braid {

struct CheckpointRequest {
  std::vector<std::string> paths;
  CheckpointChoice choice;
  bool json = false, all = false, merge = false;
  std::string tensors, out, prefix = "model/", dtype, hf, peft, memory, shard_size, nf4;
};

int inspect_checkpoint(const CheckpointRequest& request);  // checkpoint_compare.cpp
int diff_checkpoints(const CheckpointRequest& request);
int verify_checkpoints(const CheckpointRequest& request);  // checkpoint_verify.cpp
int export_checkpoint(const CheckpointRequest& request);   // checkpoint_files.cpp
int import_checkpoint(const CheckpointRequest& request);

}  // namespace braid
