// SPDX-License-Identifier: Apache-2.0
// What a rank of a planned layout would hold, without memory for it, and what it would send.
#pragma once

#include <map>
#include <memory>
#include <utility>

#include "experiments/run_config.h"
#include "nn/gist.h"
#include "nn/hash_memory.h"
#include "nn/lora_model.h"
#include "parallel/traffic.h"

namespace braid {

// Of rank 0, on the device "meta".
struct RankShapes {
  std::unique_ptr<Transformer> model;
  std::unique_ptr<LoraModel> adapters;  // null without
  std::unique_ptr<HashMemory> memory;   // likewise; without rows
  std::unique_ptr<GistModel> gists;     // likewise
  bool trains_model = true;
  std::vector<ParameterSet*> trained() const;  // but for rows
};

using ModelShapes = std::map<std::pair<int64_t, int64_t>, RankShapes>;  // by pipeline and tensor degree

// Those of config.parallel, made when they are first asked for.
const RankShapes& shapes_for(ModelShapes& all, const RunConfig& config);

// What a step sends of config.parallel with so many ranks that share the batch. Rows of a hash memory depend on the tokens: as
// many as are to be expected (expected_rows).
Traffic planned_traffic(const RankShapes& shapes, const RunConfig& config, int64_t data_ranks, const StepShape& step);

}  // namespace braid
