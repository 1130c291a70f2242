// SPDX-License-Identifier: Apache-2.0
#include "experiments/parallel_limits.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/nf4.h"
#include "parallel/tensor_parallel.h"

namespace braid {

std::string problem_of_stages(const RunConfig& config) {
  const Sharding sharding = config.parallel.sharding();
  const bool interleaved = config.parallel.pipeline_shape().chunks > 1;
  if (config.memory.enabled()) return "hash memory (memory.layers), whose rows every stage would fetch";
  if (config.gist.enabled()) return "gist tokens (gist.count), whose passes depend on each other";
  if (!config.lora.path.empty()) return "an adapter to begin with (lora.path)";
  if (!config.lora.saved_modules.empty()) return "lora.saved_modules";
  if (sharding == Sharding::parameters) {
    return "parallel.shard = \"parameters\", which would gather a stage's weights again for each of its passes";
  }
  if (sharding == Sharding::gradients && interleaved) {
    return "parallel.shard = \"gradients\" where a pass does not reach all of a stage's weights (parallel.schedule)";
  }
  if (sharding != Sharding::none && config.model.tie_embeddings) {
    return "parallel.shard and model.tie_embeddings together: two stages hold the embedding";
  }
  if (config.optim.kind == "adamw8bit" && config.model.has_streams()) {
    return "optim.kind = \"adamw8bit\", whose blocks of 256 would cross from stage to stage in the connections";
  }
  return "";
}

namespace {

// Why adapters cannot be cut, "" where they can.
std::string problem_of(const LoraConfig& lora) {
  const auto adapts = [&](const char* name) {
    return std::find(lora.targets.begin(), lora.targets.end(), name) != lora.targets.end();
  };
  if (!lora.enabled()) return "";
  if (!lora.path.empty()) return "an adapter to begin with (lora.path)";
  if (lora.dora) return "lora.dora, whose row norms would cross from rank to rank";
  if (!lora.saved_modules.empty()) return "lora.saved_modules";
  if (lora.dropout > 0 && (adapts("o_proj") || adapts("down_proj"))) {
    return "lora.dropout on o_proj or down_proj, whose inputs lie on several ranks";
  }
  return "";
}

// The same of weights in 4 bits: rows of what enters whole, and rows cut for what leaves, must be whole blocks.
std::string problem_of(const ModelConfig& model, int64_t ranks) {
  if (!model.is_quantised()) return "";
  for (const int64_t row : {model.width, model.query_width() / ranks, model.mlp_width / ranks}) {
    if (row % kernels::nf4_block == 0) continue;
    return str("model.quantise, where rows of ", row, " numbers would end within a block of ", kernels::nf4_block,
               ", whose codes share an absmax");
  }
  return "";
}

std::string problem_of(const RunConfig& config) {
  if (config.memory.enabled()) return "hash memory (memory.layers)";
  if (config.gist.enabled()) return "gist tokens (gist.count)";
  if (config.lora.enabled() && config.parallel.sharding() != Sharding::none) return "adapters and parallel.shard together";
  if (config.optim.kind == "adamw8bit") return "optim.kind = \"adamw8bit\", whose blocks of 256 would cross from rank to rank";
  const std::string of_adapters = problem_of(config.lora);
  return of_adapters.empty() ? problem_of(config.model, config.parallel.tensor) : of_adapters;
}

void check_stages(const RunConfig& config) {
  const PipelineShape shape = config.parallel.pipeline_shape();
  const std::string problem = problem_of_stages(config);
  if (!problem.empty()) throw UsageError(str("parallel.pipeline: expected 1 with ", problem, ", found ", shape.stages));
  for (int64_t stage = 0; stage < shape.stages; ++stage) {
    const ModelConfig share = stage_share(config.model, shape, stage);
    if (!config.lora.enabled() || !lora_targets(share, config.lora).empty()) continue;
    throw UsageError(str("parallel.pipeline: lora.layers leaves stage ", stage, " of ", shape.stages, " nothing to train"));
  }
}

void refuse_at(const ConfigDocument& document, const char* key, const auto& check) {
  try {
    check();
  } catch (const UsageError& problem) {
    throw UsageError(str(document.where(key), ": ", problem.what()));
  }
}

}  // namespace

void check_parallel(const RunConfig& config, const ConfigDocument& document) {
  if (config.parallel.pipeline > 1) refuse_at(document, "parallel.pipeline", [&] { check_stages(config); });
  const int64_t ranks = config.parallel.tensor;
  if (ranks == 1) return;
  refuse_at(document, "parallel.tensor", [&] {
    check_tensor_cut(config.model, ranks);
    const std::string problem = problem_of(config);
    if (!problem.empty()) throw UsageError(str("parallel.tensor: expected 1 with ", problem, ", found ", ranks));
  });
}

}  // namespace braid
