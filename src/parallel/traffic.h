// SPDX-License-Identifier: Apache-2.0
// What a training step sends, known before it runs: the bytes that one rank hands to collectives, as
// World::communicated_bytes counts them (inputs of calls). A function of the parameters' shapes alone, so that a model
// without values (on the device "meta") will do.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "nn/model_config.h"
#include "nn/parameter.h"
#include "nn/recompute.h"
#include "parallel/parallel_config.h"
#include "parallel/sharded_frozen.h"

namespace braid {

// Bytes a step, of the rank with the most samples.
struct Traffic {
  int64_t gradients = 0;    // summed over replicas: data- and context-parallel ranks
  int64_t parts = 0;        // of gradients, summed over groups that have the same ones (shard_groups.h)
  int64_t weights = 0;      // gathered from replicas, or sent to them
  int64_t activations = 0;  // summed over tensor-parallel ranks, the loss's sums among them
  int64_t keys = 0;         // and values, that go round context-parallel ranks, and their gradients
  int64_t rows = 0;         // of a table that ranks spread by rows, fetched, and their gradients (row_traffic)
  int64_t messages = 0;     // to and from other stages of a pipeline: what goes along depth, and gradients of it
  int64_t sums = 0;         // losses, counts, norms, flags
  int64_t total() const { return gradients + parts + weights + activations + keys + rows + messages + sums; }
};

struct StepShape {
  int64_t passes = 1;   // micro-batches of the rank with the most samples
  int64_t samples = 1;  // of all of them
  Recompute recompute = Recompute::none;
  int64_t stage = 0;  // of a pipeline
  bool narrow_streams = false;  // ResidualConnection::store_streams_as_bf16
  int64_t forwards = 1, backwards = 1;  // how often each pass goes through all blocks (nn/gist.h)
  // Whether no backward pass completes a parameter's gradient: it then leaves at the end of the step, with all behind it.
  std::function<bool(const Parameter&)> unready = {};
};

// Of a step without evaluation, checkpoint or layer metrics. `sets` are those trained ones that one rank holds
// (tensor_parallel.h, pipeline_schedule.h), `whole` is the model that they are of, or on. Rows are none of it.
Traffic step_traffic(const std::vector<ParameterSet*>& sets, const ModelConfig& whole, const ParallelConfig& parallel,
                     int64_t data_ranks, const StepShape& step);

// What a rank sends of frozen weights that blocks gather (sharded_frozen.h), where every block has adapters.
int64_t frozen_traffic(const std::vector<FrozenUnit>& units, int64_t layers, const StepShape& step);

}  // namespace braid
