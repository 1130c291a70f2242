// SPDX-License-Identifier: Apache-2.0
// The datasets of a configured run, and the model's first values: the two belong together because the incrementing-token
// stream of softwarewrighter/mHC-poc continues the generator that drew the weights.
#pragma once

#include <ATen/core/Generator.h>

#include <memory>
#include <string>

#include "comm/communicator.h"
#include "data/dataset.h"
#include "experiments/run_config.h"
#include "nn/initialise.h"

namespace braid {

struct TaskData {
  at::Generator generator;  // draws the poc's weights, then its samples; the same on every rank
  std::shared_ptr<const Dataset> train, held_out;  // held_out may be null
  std::string digest;  // "crc32c:1a2b3c4d" of the training shard, or "generated:copy"
};

// Rank 0 builds token shards from a folder of text where that is asked for; then every rank opens them. A run that goes
// on takes the shards it has, whatever became of the text. Collective.
TaskData open_task_data(const RunConfig& config, const std::string& run_folder, Communicator& host, bool goes_on = false);

// train.steps as train.epochs asks for them, where it is above 0: so many times the batches of one pass, the last of which may
// be part of the next pass. UsageError: data without an end.
void follow_epochs(RunConfig& config);

// First values of the weights, by the model's dialect; `elsewhere` takes those of weights without memory.
void initialise(Transformer& model, const RunConfig& config, TaskData& data, const StoreValues& elsewhere = {});

}  // namespace braid
