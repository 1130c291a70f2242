// SPDX-License-Identifier: Apache-2.0
#include "parallel/traffic.h"

#include <algorithm>
#include <set>

#include "nn/precompiled.h"
#include "nn/token_coefficients.h"
#include "parallel/shard_groups.h"
#include "parallel/shard_plan.h"

namespace braid {

namespace {

int64_t bytes_of(at::ScalarType type) { return static_cast<int64_t>(c10::elementSize(type)); }

// A rank's part of a unit, as it goes to the others (ShardedWeights).
int64_t sent_bytes(const ShardUnit& unit, Precision precision) {
  return unit.part * bytes_of(unit.reads_master ? master_type(precision) : compute_type(precision));
}

// How often each block's weights come in so many passes: they stay while this block or the one expected next needs them
// (EnterBlock).
std::vector<int64_t> gathered_in(int64_t passes, int64_t layers, const StepShape& step) {
  std::vector<int64_t> times(static_cast<size_t>(layers), 0);
  std::set<int64_t> here;
  const auto enter = [&](int64_t layer, int64_t next) {
    std::erase_if(here, [&](int64_t other) { return other != layer && other != next; });
    for (const int64_t wanted : {layer, next}) {
      if (wanted >= 0 && wanted < layers && here.insert(wanted).second) ++times[static_cast<size_t>(wanted)];
    }
  };
  for (int64_t pass = 0; pass < passes; ++pass) {
    for (int64_t i = 0; i < step.forwards * layers; ++i) enter(i % layers, i % layers + 1);
    for (int64_t i = step.backwards * layers - 1; i >= 0; --i) enter(i % layers, i % layers - 1);
  }
  return times;
}

// Each pass after the first asks for as much as the second.
std::vector<int64_t> times_gathered(int64_t layers, const StepShape& step) {
  std::vector<int64_t> times = gathered_in(1, layers, step);
  const std::vector<int64_t> two = gathered_in(2, layers, step);
  for (size_t layer = 0; layer < times.size(); ++layer) times[layer] += (step.passes - 1) * (two[layer] - times[layer]);
  return times;
}

// Gathered units: those that last come once a step.
int64_t gathered_bytes(const std::vector<ShardUnit>& units, Precision precision, int64_t layers, const StepShape& step) {
  const std::vector<int64_t> times = times_gathered(layers, step);
  int64_t bytes = 0;
  for (const ShardUnit& unit : units) {
    if (unit.whole) continue;
    bytes += sent_bytes(unit, precision) * (unit.layer < 0 ? 1 : times[static_cast<size_t>(unit.layer)]);
  }
  return bytes;
}

// `ranks` spread a copy, of which there are `copies`.
void add_sharded(Traffic& traffic, ParameterSet& parameters, Sharding sharding, int64_t ranks, int64_t copies, int64_t layers,
                 const StepShape& step) {
  const Precision precision = parameters.precision();
  const std::vector<ShardUnit> units = plan_units(parameters, sharding, static_cast<int>(ranks));
  const int64_t element = bytes_of(master_type(precision));
  bool waits = false;
  for (const ShardUnit& unit : units) {
    const auto unready = [&](const ShardUnit::Place& place) { return step.unready && step.unready(*place.parameter); };
    waits = waits || std::any_of(unit.places.begin(), unit.places.end(), unready);
    const bool often = !unit.whole && sharding != Sharding::optimizer && !waits;
    traffic.gradients += unit.elements * element * (often ? step.passes : 1);
    if (copies > 1 && !unit.whole) traffic.parts += unit.part * element;
    if (!unit.whole && sharding != Sharding::parameters) traffic.weights += sent_bytes(unit, precision);
  }
  if (sharding == Sharding::parameters) traffic.weights += gathered_bytes(units, precision, layers, step);
}

// Each block sums behind attention and MLP in forward, before them in backward; the embedding fills its rows in, the head
// sums in backward, the loss exchanges a maximum and, in double, three sums a row and one a pass; where they are.
int64_t tensor_bytes(const ModelConfig& m, Precision precision, const StepShape& step, const ParallelConfig& parallel) {
  const int64_t rows = step.samples * m.context / parallel.context, stream = bytes_of(master_type(precision));
  const int64_t compute = bytes_of(compute_type(precision));
  const int64_t sublayers = step.recompute == Recompute::blocks ? 4 : step.recompute == Recompute::attention ? 3 : 2;
  const int64_t forward = sublayers * m.held_layers(), backward = 2 * m.held_layers() + (m.holds_head() ? 1 : 0);
  const int64_t loss = m.holds_head() ? rows * (stream + 3 * 8) + step.passes * 8 : 0;
  const int64_t embedding = rows * m.width * (m.holds_embedding() ? stream : 0);
  const int64_t sums = rows * m.width * (forward + backward) * compute;
  if (!parallel.shares_tokens()) return sums + embedding + loss;
  // Each sum leaves a share, and where it leaves none a share is gathered instead: the head's in forward, the embedding's
  // gradient in backward.
  return sums + sums / parallel.tensor + embedding + embedding / parallel.tensor + loss;
}

// What sees a share of the tokens: norms, biases behind sums, connections (parameters_of_shares).
int64_t shared_gradient_bytes(const ModelConfig& m, Precision precision) {
  const int64_t norm = m.is_llama() ? 1 : 2, biases = m.is_llama() ? 0 : 2;
  const int64_t vectors = m.held_layers() * (2 * norm + biases) + (m.holds_head() ? norm : 0);
  return (vectors * m.width + connection_elements(m)) * bytes_of(master_type(precision));
}

// To and from the stage behind each run of layers but the last, and that before each but the first.
int64_t message_bytes(const ModelConfig& m, Precision precision, const StepShape& step) {
  int64_t messages = 0;
  for (const LayerRange& run : m.held_ranges()) messages += (run.first > 0 ? 2 : 0) + (run.end() < m.layers ? 2 : 0);
  const int64_t numbers = m.width * (m.has_streams() ? m.streams : 1);
  const at::ScalarType type = m.has_streams() && step.narrow_streams ? at::kBFloat16 : master_type(precision);
  return messages * step.samples * m.context * numbers * bytes_of(type);
}

// An embedding that is the head as well, there and back between the first stage and the last.
int64_t tied_bytes(ParameterSet& parameters, const ModelConfig& m) {
  if (!m.tie_embeddings || !(m.holds_embedding() || m.holds_head())) return 0;
  return 2 * parameters.named("embedding.weight").elements() * bytes_of(master_type(parameters.precision()));
}

// A rank's keys and values to each other in every forward pass and in backward, and as many gradients in the masters' type
// (ring_attention.h).
int64_t ring_bytes(const ModelConfig& m, Precision precision, const StepShape& step, const ParallelConfig& parallel) {
  const int64_t rows = step.samples * m.context / parallel.context, others = parallel.context - 1;
  const int64_t elements = rows * m.held_layers() * 2 * m.key_value_width() / parallel.tensor;
  const int64_t rounds = step.recompute == Recompute::none ? 2 : 3;
  return others * elements * (rounds * bytes_of(compute_type(precision)) + bytes_of(master_type(precision)));
}

// The step's losses, flags and norm, of all ranks. Of replicas how many targets there are; where mixing matrices differ between
// tokens, their mean and how many tokens it is of. Stages tell each other of their mixing matrices, unless all ranks have tokens of
// their own, whose message is then one of all stages.
int64_t sum_bytes(const ModelConfig& m, Precision precision, int64_t replicas, int64_t stages, bool shares_tokens) {
  const int64_t matrix = m.has_streams() ? m.streams * m.streams : 0;
  const int64_t mixing = matrix > 0 && m.is_paper_form() ? 8 * (1 + 2 * m.layers * matrix) : 0;
  const int64_t of_stages = !m.is_paper_form() ? m.layers * matrix * bytes_of(master_type(precision)) : shares_tokens ? 0 : mixing;
  return 8 * 8 + (replicas > 1 ? 8 : 0) + (replicas > 1 || shares_tokens ? mixing : 0) + (stages > 1 ? of_stages : 0);
}

}  // namespace

Traffic step_traffic(const std::vector<ParameterSet*>& sets, const ModelConfig& whole, const ParallelConfig& parallel,
                     int64_t data_ranks, const StepShape& step) {
  Traffic traffic;
  const int64_t replicas = data_ranks * parallel.context, spread = shard_degree(replicas, parallel.shard_ranks);
  for (ParameterSet* set : sets) {
    if (replicas > 1 && (spread == 1 || parallel.sharding() == Sharding::none)) {
      traffic.gradients += static_cast<int64_t>(set->gradient().nbytes());
    } else if (replicas > 1) {
      add_sharded(traffic, *set, parallel.sharding(), spread, replicas / spread, whole.layers, step);
    }
  }
  const Precision precision = sets.front()->precision();
  const ModelConfig stage = stage_share(whole, parallel.pipeline_shape(), step.stage);
  if (parallel.tensor > 1) traffic.activations = tensor_bytes(stage, precision, step, parallel);
  if (parallel.shares_tokens()) traffic.gradients += shared_gradient_bytes(stage, precision);
  if (parallel.context > 1) traffic.keys = ring_bytes(stage, precision, step, parallel);
  if (parallel.pipeline > 1) {
    traffic.messages = message_bytes(stage, precision, step) / (parallel.context * parallel.token_parts());
    traffic.gradients += tied_bytes(*sets.front(), stage);
  }
  if (replicas * parallel.tensor * parallel.pipeline > 1) {
    traffic.sums = sum_bytes(whole, precision, replicas, parallel.pipeline, parallel.shares_tokens());
  }
  return traffic;
}

int64_t frozen_traffic(const std::vector<FrozenUnit>& units, int64_t layers, const StepShape& step) {
  const std::vector<int64_t> times = times_gathered(layers, step);
  int64_t bytes = 0;
  for (const FrozenUnit& unit : units) bytes += unit.part * times[static_cast<size_t>(unit.layer)];
  return bytes;
}

}  // namespace braid
