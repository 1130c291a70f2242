// SPDX-License-Identifier: Apache-2.0
// The model of a configured run, on however many ranks it lies, and what is put on it from outside.
#pragma once

#include <memory>
#include <vector>

#include "comm/mesh.h"
#include "experiments/run_config.h"
#include "experiments/run_start.h"
#include "experiments/task_data.h"
#include "nn/gist.h"
#include "nn/hash_memory.h"
#include "nn/lora_model.h"
#include "parallel/pipeline.h"
#include "parallel/tensor_adapters.h"
#include "train/trained_sets.h"

namespace braid {

struct RunModel {
  std::unique_ptr<Transformer> model;
  std::shared_ptr<const ShardGroups> groups;      // of the ranks that share the batch
  std::shared_ptr<ShardedSet> spread;             // its weights, where ranks drew or read a part of the first values each
  std::shared_ptr<ShardedFrozen> frozen;          // its weights under adapters, where ranks keep a part each; else null
  std::unique_ptr<LoraModel> adapters;            // null without
  std::unique_ptr<TensorAdapters> adapter_parts;  // likewise
  std::unique_ptr<HashMemory> memory;             // likewise
  std::unique_ptr<GistModel> gists;               // likewise
  Communicator* token_sharers = nullptr;          // tensor ranks that share every sample's tokens; null where each has all
  std::unique_ptr<Pipeline> pipeline;             // null unless the model is a stage of one
};

// With first values, or those of the folder that the run begins with; a checkpoint's are loaded over them. Collective.
RunModel make_model(const RunConfig& config, TaskData& data, const RunStart& start, const Mesh& mesh, const at::Device& device);

// What of it is updated: adapters instead of the model's own weights, a memory perhaps with them.
std::vector<TrainedSet> trained_sets(const RunModel& made, const RunConfig& config);

}  // namespace braid
