// SPDX-License-Identifier: Apache-2.0
// A small model that trains on the ranks of a communicator, spread over them or not.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../nn/support.h"
#include "base/error.h"
#include "comm/communicator.h"
#include "data/dataset.h"
#include "nn/hash_memory.h"
#include "nn/lora_model.h"
#include "nn/quantised_weight.h"
#include "nn/recompute.h"
#include "optim/adamw.h"
#include "parallel/gradient_reducer.h"
#include "parallel/sharded_rows.h"
#include "train/trained_sets.h"

namespace braid::test {

struct Case {
  const char* name;
  std::string dialect, residual, form = "poc";
  bool tied = false, adapters = false, recompute = false, larger = false;
  int64_t micro = 0;
  Precision precision = Precision::fp32;
  std::string optimizer = "adamw";
  double norm_tolerance = 1e-5;
  bool offload = false, quantised = false, memory = false;
};

inline std::ostream& operator<<(std::ostream& out, const Case& one) { return out << one.name; }

inline ModelConfig model_of(const Case& one) {
  ModelConfig config = small_model(one.dialect, one.residual);
  config.connection_form = one.form;
  config.tie_embeddings = one.tied;
  config.width = 32;
  config.mlp_width = 68;
  config.vocabulary = 37;
  if (one.larger) {
    config.width = 128;
    config.mlp_width = 512;
    config.vocabulary = 256;
  }
  if (one.quantised) config.quantise = "nf4";
  config.double_quantise = false;
  return config;
}

// Each matrix of a block in NF4; what was dense goes.
inline void quantise(Transformer& model) {
  for (Block& block : model.blocks()) {
    for (Linear* layer : {&block.attention.qkv, &block.attention.out, &block.mlp.in, &block.mlp.out}) {
      Parameter& dense = std::dynamic_pointer_cast<DenseWeight>(layer->source)->parameter();
      layer->source = std::make_shared<Nf4Weight>(std::vector{quantise_nf4(dense.compute, false)}, dense.compute.scalar_type());
      dense.compute = dense.master = at::Tensor();
    }
  }
}

inline HashMemoryConfig tables_of(const Case& one) {
  HashMemoryConfig tables;
  if (one.memory) tables.layers = {1};
  tables.table_size = 400;
  tables.width = 64;
  tables.trains_model = true;
  return tables;
}

struct Numbers {
  std::vector<double> losses, norms;
  std::map<std::string, at::Tensor> weights;  // what this rank has of them, flat, by name and first element
};

// One way to train, on the ranks of `comm`.
class Training {
 public:
  Training(const Case& one, Communicator& comm, Sharding sharding, int64_t shard_ranks = 0)
      : case_(one),
        comm_(comm),
        model_(dense(model_of(one)), one.precision, at::kCPU, one.adapters ? Weights::frozen : Weights::trained) {
    randomise(model_, 3, 0.15);
    if (one.quantised) quantise(model_);
    if (one.recompute) model_.wrap_blocks(recompute_blocks());
    if (one.adapters) {
      LoraConfig lora;
      lora.rank = 4;
      lora.dora = one.tied;
      adapters_.emplace(model_, lora, 7);
      adapters_->take_base_weights();
    }
    OptimConfig optim;
    optim.kind = one.optimizer;
    optim.weight_decay = 0.1;
    optim.offload = one.offload;
    TrainedPlace place{{comm, comm}, 0, 1, std::make_shared<ShardGroups>(TrainRanks{comm, comm}, shard_ranks)};
    if (adapters_ && possible_sharding(sharding, *place.groups) == Sharding::parameters) {
      place.frozen = std::make_shared<ShardedFrozen>(model_, place.groups->within().data);
      place.frozen->take_all();
    }
    std::vector<TrainedSet> sets{{adapters_ ? adapters_->parameters() : model_.parameters(), optim}};
    if (one.memory) {
      put_on_memory(tables_of(one));
      sets.push_back({memory_->parameters(), optim});
      sets.push_back({memory_->table(), OptimConfig(), true});
    }
    sets_.emplace(sets, place, sharding);
    if (sets_->spreads()) model_.wrap_blocks(sets_->gather(one.recompute ? recompute_blocks() : BlockWrapper()));
  }

  Numbers run(int steps) {
    Numbers run;
    for (int step = 0; step < steps; ++step) train_step(step, run);
    for (const StateTensor& tensor : sets_->state_tensors()) {
      if (!tensor.slice.name.starts_with("model/")) continue;
      run.weights[str(tensor.slice.name, " ", tensor.slice.first)] = tensor.values.clone();
    }
    return run;
  }

 private:
  static constexpr int64_t batch = 5;

  // The test quantises by itself.
  static ModelConfig dense(ModelConfig config) {
    config.quantise = "none";
    return config;
  }

  void put_on_memory(const HashMemoryConfig& tables) {
    const NgramHash hash(tables, distinct_tokens(model_.config().vocabulary), 0, at::kCPU);
    memory_.emplace(model_, tables, hash, 0, row_range(hash.table_rows(), comm_.rank(), comm_.size()));
    memory_->use_store(std::make_unique<ShardedRows>(memory_->rows(), comm_, comm_));
  }

  void train_step(int step, Numbers& run) {
    const Sample all = random_sample(model_.config(), batch, 100 + uint64_t(step) % 3);
    const double targets = double(all.targets.ne(-100).sum().item<int64_t>());
    const Slice mine = slice_of(batch, comm_.rank(), comm_.size());
    const int64_t most = slice_of(batch, 0, comm_.size()).count, micro = case_.micro > 0 ? case_.micro : most;
    LossTotals totals = make_loss_totals(model_.device()), nobody = make_loss_totals(model_.device());
    sets_->open();
    model_.residual().begin_step();
    sets_->zero_gradients();
    if (memory_) memory_->fetch(tokens_of(all.tokens.narrow(0, mine.first, mine.count), {}));
    for (int64_t done = 0; done < most; done += micro) {
      const int64_t here = std::clamp<int64_t>(mine.count - done, 0, micro), first = here > 0 ? mine.first + done : 0;
      sets_->arm(done + micro >= most);
      sets_->start_backward();
      const auto rows = [&](const at::Tensor& ids) { return ids.narrow(0, first, std::max<int64_t>(here, 1)); };
      model_.loss(rows(all.tokens), rows(all.targets), here > 0 ? 1 / targets : 0, here > 0 ? totals : nobody).backward();
    }
    model_.end_backward();
    sets_->finish();
    sets_->close();
    if (memory_) memory_->return_gradients();
    at::Tensor sums = at::cat({totals.values, sets_->own_squares()});
    comm_.all_reduce(buffer_of(sums), ReduceOp::sum).wait();
    const double norm = std::sqrt(sums[-1].item<double>() + sets_->shared_norm().square().item<double>());
    run.losses.push_back(sums[LossTotals::loss].item<double>() / targets);
    run.norms.push_back(norm);
    sets_->step(0.005, clip_divisor(norm, 2.0));
  }

  Case case_;
  Communicator& comm_;
  Transformer model_;
  std::optional<LoraModel> adapters_;
  std::optional<HashMemory> memory_;
  std::optional<TrainedSets> sets_;
};

}  // namespace braid::test
