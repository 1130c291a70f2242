// SPDX-License-Identifier: Apache-2.0
#include "experiments/parallel_limits.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/nf4.h"
#include "parallel/tensor_parallel.h"
#include "parallel/zigzag.h"

namespace braid {

namespace {

std::string problem_of_stages(const RunConfig& config) {
  const Sharding sharding = config.parallel.sharding();
  const bool interleaved = config.parallel.pipeline_shape().chunks > 1;
  if (config.memory.enabled()) return "hash memory (memory.layers), whose rows every stage would fetch";
  if (config.gist.enabled()) return "gist tokens (gist.count), whose passes depend on each other";
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

bool adapts(const LoraConfig& lora, const char* name) {
  return std::find(lora.targets.begin(), lora.targets.end(), name) != lora.targets.end();
}

// Why adapters cannot be cut, "" where they can.
std::string problem_of(const LoraConfig& lora) {
  if (!lora.enabled()) return "";
  if (lora.dora) return "lora.dora, whose row norms would cross from rank to rank";
  if (!lora.saved_modules.empty()) return "lora.saved_modules";
  if (lora.dropout > 0 && (adapts(lora, "o_proj") || adapts(lora, "down_proj"))) {
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

void check_sequence(const RunConfig& config) {
  const ParallelConfig& parallel = config.parallel;
  if (!parallel.sequence) return;
  const int64_t tokens = config.model.context / parallel.context;
  if (tokens % parallel.tensor == 0) return;
  throw UsageError(str("parallel.sequence: model.context: ", tokens, " tokens ", parallel.context > 1 ? "of a rank " : "",
                       "cannot be shared evenly by ", parallel.tensor, " ranks"));
}

std::string tensor_problem(const RunConfig& config) {
  if (config.memory.enabled()) return "hash memory (memory.layers)";
  if (config.gist.enabled()) return "gist tokens (gist.count)";
  const bool spreads = config.lora.enabled() && config.parallel.sharding() != Sharding::none;
  if (spreads && adapts(config.lora, "lm_head") && config.model.vocabulary % config.parallel.tensor != 0) {
    return "an adapter of lm_head and parallel.shard, where ranks have parts of the vocabulary that differ in size";
  }
  if (config.optim.kind == "adamw8bit") return "optim.kind = \"adamw8bit\", whose blocks of 256 would cross from rank to rank";
  const std::string of_adapters = problem_of(config.lora);
  return of_adapters.empty() ? problem_of(config.model, config.parallel.tensor) : of_adapters;
}

// What looks at a sample's other tokens beside attention.
std::string context_problem(const RunConfig& config) {
  if (config.memory.enabled()) return "hash memory (memory.layers), which looks back at tokens that other ranks have";
  if (config.gist.enabled()) return "gist tokens (gist.count), which cut contexts in their own way";
  return "";
}

void check_key(const char* key, int64_t ranks, const std::string& problem) {
  if (!problem.empty()) throw UsageError(str(key, ": expected 1 with ", problem, ", found ", ranks));
}

void check_stages(const RunConfig& config) {
  const PipelineShape shape = config.parallel.pipeline_shape();
  check_key("parallel.pipeline", shape.stages, problem_of_stages(config));
  stage_share(config.model, shape, 0);  // refuses too few layers
  if (!config.lora.enabled()) return;
  for (int64_t stage = 0; stage < shape.stages; ++stage) {
    if (!lora_targets(stage_share(config.model, shape, stage), config.lora).empty()) continue;
    throw UsageError(str("parallel.pipeline: lora.layers leaves stage ", stage, " of ", shape.stages, " nothing to train"));
  }
}

void check_tensor(const RunConfig& config) {
  check_tensor_cut(config.model, config.parallel.tensor);
  check_key("parallel.tensor", config.parallel.tensor, tensor_problem(config));
  check_sequence(config);
}

void check_context(const RunConfig& config) {
  check_context_cut(config.model.context, config.parallel.context);
  check_key("parallel.context", config.parallel.context, context_problem(config));
}

struct Axis {
  const char* key;
  int64_t ParallelConfig::*ranks;
  void (*check)(const RunConfig& config);  // UsageError; of more than one rank
};

constexpr Axis axes[] = {{"parallel.pipeline", &ParallelConfig::pipeline, check_stages},
                         {"parallel.tensor", &ParallelConfig::tensor, check_tensor},
                         {"parallel.context", &ParallelConfig::context, check_context}};

// Calls at(key, problem) for the first axis along which the run cannot be cut.
template <class At>
void check_axes(const RunConfig& config, const At& at) {
  for (const Axis& axis : axes) {
    if (config.parallel.*axis.ranks == 1) continue;
    try {
      axis.check(config);
    } catch (const UsageError& problem) {
      return at(axis.key, problem);
    }
  }
}

}  // namespace

bool can_be_spread(const RunConfig& config) {
  bool can = true;
  check_axes(config, [&](const char*, const UsageError&) { can = false; });
  return can;
}

void check_parallel(const RunConfig& config, const ConfigDocument& document) {
  check_axes(config, [&](const char* key, const UsageError& problem) {
    throw UsageError(str(document.where(key), ": ", problem.what()));
  });
}

}  // namespace braid
