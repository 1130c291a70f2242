// SPDX-License-Identifier: Apache-2.0
// Training with a model spread over the ranks, beside one rank that has all of it: 20 steps, the same numbers.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <optional>

#include "../nn/support.h"
#include "../train/counting_allocator.h"
#include "base/error.h"
#include "comm/communicator.h"
#include "data/dataset.h"
#include "mpi_world.h"
#include "nn/lora_model.h"
#include "nn/quantised_weight.h"
#include "nn/recompute.h"
#include "optim/adamw.h"
#include "parallel/gradient_reducer.h"
#include "train/memory.h"
#include "train/trained_sets.h"

namespace braid {
namespace {

using test::world;

struct Case {
  const char* name;
  std::string dialect, residual, form = "poc";
  bool tied = false, adapters = false, recompute = false, larger = false;
  int64_t micro = 0;
  Precision precision = Precision::fp32;
  std::string optimizer = "adamw";
  double norm_tolerance = 1e-5;
  bool offload = false, quantised = false;
};

std::ostream& operator<<(std::ostream& out, const Case& one) { return out << one.name; }

ModelConfig model_of(const Case& one) {
  ModelConfig config = test::small_model(one.dialect, one.residual);
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
void quantise(Transformer& model) {
  for (Block& block : model.blocks()) {
    for (Linear* layer : {&block.attention.qkv, &block.attention.out, &block.mlp.in, &block.mlp.out}) {
      Parameter& dense = std::dynamic_pointer_cast<DenseWeight>(layer->source)->parameter();
      layer->source = std::make_shared<Nf4Weight>(std::vector{quantise_nf4(dense.compute, false)}, dense.compute.scalar_type());
      dense.compute = dense.master = at::Tensor();
    }
  }
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
    test::randomise(model_, 3, 0.15);
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
    sets_.emplace(std::vector<TrainedSet>{{adapters_ ? adapters_->parameters() : model_.parameters(), optim}}, place, sharding);
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

  void train_step(int step, Numbers& run) {
    const test::Sample all = test::random_sample(model_.config(), batch, 100 + uint64_t(step) % 3);
    const double targets = double(all.targets.ne(-100).sum().item<int64_t>());
    const Slice mine = slice_of(batch, comm_.rank(), comm_.size());
    const int64_t most = slice_of(batch, 0, comm_.size()).count, micro = case_.micro > 0 ? case_.micro : most;
    LossTotals totals = make_loss_totals(model_.device()), nobody = make_loss_totals(model_.device());
    sets_->open();
    model_.residual().begin_step();
    sets_->zero_gradients();
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
  std::optional<TrainedSets> sets_;
};

// Key biases and the stream logits of the poc's form have a gradient of zero, of which Adam makes steps of rounding errors.
bool has_gradient(const std::string& name) {
  return name.find(".attn.in.bias") == std::string::npos && name.find("mix.") == std::string::npos;
}

// The largest difference between what this rank keeps and the same elements of all.
double largest_difference(const Numbers& spread, const Numbers& control) {
  double largest = 0;
  for (const auto& [place, values] : spread.weights) {
    const size_t space = place.find(' ');
    const std::string name = place.substr(0, space);
    if (!has_gradient(name)) continue;
    const at::Tensor expected = control.weights.at(name + " 0").narrow(0, std::stoll(place.substr(space)), values.numel());
    largest = std::max(largest, (values - expected).abs().max().item<double>());
  }
  return largest;
}

class ShardedTraining : public testing::TestWithParam<Case> {};

// What was found is recorded: --gtest_output=xml writes it.
TEST_P(ShardedTraining, GivesTheNumbersOfOneRank) {
  if (world().size() == 1) GTEST_SKIP() << "one rank has all of it";
  constexpr int steps = 20;
  const Case& one = GetParam();
  // Roundings of bf16 and of 8 bits amplify the order of a sum over ranks: there the control has as many.
  const bool exact = one.precision == Precision::fp32 && one.optimizer == "adamw";
  const auto alone = make_single_communicator();
  const Numbers control = Training(one, exact ? *alone : world().host(), Sharding::none).run(steps);
  EXPECT_GT(control.losses.front() - control.losses.back(), 0.1);  // it does train
  for (const auto& [name, sharding] : {std::pair("optimizer", Sharding::optimizer), std::pair("gradients", Sharding::gradients),
                                       std::pair("parameters", Sharding::parameters)}) {
    const Numbers spread = Training(one, world().host(), sharding).run(steps);
    double losses = 0, norms = 0;
    for (int step = 0; step < steps; ++step) {
      losses = std::max(losses, std::abs(spread.losses[step] - control.losses[step]));
      norms = std::max(norms, std::abs(spread.norms[step] / control.norms[step] - 1));
    }
    EXPECT_LE(losses, 1e-5) << name;
    EXPECT_LE(norms, one.norm_tolerance) << name;
    const double weights = exact ? largest_difference(spread, control) : 0;
    EXPECT_LE(weights, 1e-4) << name;
    RecordProperty(name, str(losses, " ", norms, " ", weights));
  }
}

// What hybrid sharding shares with whole ranks' is checked there; here the same in two groups.
TEST(HybridSharding, GivesTheNumbersOfOneRank) {
  if (world().size() % 2 != 0) GTEST_SKIP() << "ranks that make two groups";
  constexpr int steps = 12;
  const Case one{.name = "hybrid", .dialect = "llama", .residual = "mhc", .form = "paper", .micro = 1};
  const auto alone = make_single_communicator();
  const Numbers control = Training(one, *alone, Sharding::none).run(steps);
  for (const Sharding sharding : {Sharding::optimizer, Sharding::gradients, Sharding::parameters}) {
    const Numbers spread = Training(one, world().host(), sharding, world().size() / 2).run(steps);
    for (int step = 0; step < steps; ++step) {
      EXPECT_NEAR(spread.losses[step], control.losses[step], 1e-5) << int(sharding);
      EXPECT_NEAR(spread.norms[step] / control.norms[step], 1, 1e-5) << int(sharding);
    }
    EXPECT_LE(largest_difference(spread, control), 1e-4) << int(sharding);
  }
}

std::vector<Case> cases() {
  return {
      {.name = "poc", .dialect = "poc", .residual = "residual"},
      {.name = "poc_mhc_recomputing", .dialect = "poc", .residual = "mhc", .recompute = true, .micro = 1},
      {.name = "poc_hc", .dialect = "poc", .residual = "hc", .norm_tolerance = 5e-5},
      {.name = "llama_accumulating", .dialect = "llama", .residual = "residual", .tied = true, .micro = 1},
      {.name = "paper_mhc_accumulating", .dialect = "llama", .residual = "mhc", .form = "paper", .micro = 2},
      {.name = "adapters_recomputing", .dialect = "llama", .residual = "residual", .adapters = true, .recompute = true, .micro = 1},
      {.name = "qlora", .dialect = "llama", .residual = "residual", .adapters = true, .recompute = true, .micro = 1, .quantised = true},
      {.name = "dora", .dialect = "llama", .residual = "residual", .tied = true, .adapters = true},
      {.name = "bf16", .dialect = "llama", .residual = "residual", .precision = Precision::bf16},
      {.name = "bf16_accumulating", .dialect = "llama", .residual = "residual", .tied = true, .micro = 1,
       .precision = Precision::bf16},
      {.name = "moments_of_8_bits", .dialect = "llama", .residual = "residual", .optimizer = "adamw8bit"},
  };
}

INSTANTIATE_TEST_SUITE_P(Models, ShardedTraining, testing::ValuesIn(cases()),
                         [](const auto& info) { return std::string(info.param.name); });

// Masters and moments in host memory are updated as they would be on the device.
TEST(OffloadedTraining, ChangesNoNumber) {
  for (Case one : {Case{.name = "fp32", .dialect = "llama", .residual = "mhc", .form = "paper", .tied = true, .micro = 2},
                   Case{.name = "bf16", .dialect = "llama", .residual = "residual", .micro = 1, .precision = Precision::bf16},
                   Case{.name = "adapters", .dialect = "llama", .residual = "residual", .adapters = true},
                   Case{.name = "8bit", .dialect = "poc", .residual = "residual", .optimizer = "adamw8bit"}}) {
    for (const Sharding sharding : {Sharding::none, Sharding::optimizer, Sharding::gradients, Sharding::parameters}) {
      one.offload = false;
      const Numbers control = Training(one, world().host(), sharding).run(5);
      one.offload = true;
      const Numbers found = Training(one, world().host(), sharding).run(5);
      // Whole gradients cross in other pieces, and MPI adds those of three ranks in an order that follows from their size; the
      // squares of a norm are added up in these pieces.
      const double tolerance = sharding == Sharding::none && world().size() > 2 ? 1e-5 : 0;
      for (size_t step = 0; step < control.losses.size(); ++step) {
        EXPECT_NEAR(found.losses[step], control.losses[step], tolerance) << one << " " << int(sharding);
        EXPECT_NEAR(found.norms[step] / control.norms[step], 1, std::max(tolerance, 1e-15)) << one << " " << int(sharding);
      }
      if (tolerance > 0) continue;
      ASSERT_EQ(found.weights.size(), control.weights.size());
      for (const auto& [place, values] : found.weights) EXPECT_TRUE(at::equal(values, control.weights.at(place))) << one << place;
    }
  }
}

const Case larger{.name = "larger", .dialect = "poc", .residual = "residual", .larger = true};

const Case offloaded{.name = "offloaded", .dialect = "poc", .residual = "residual", .larger = true,
                     .precision = Precision::bf16, .offload = true};

// Weights, gradients and moments that a rank holds between steps.
double held_after(Communicator& comm, Sharding sharding, const Case& one = larger) {
  test::CountingAllocator memory;
  Training training(one, comm, sharding);
  training.run(1);
  testing::Test::RecordProperty(str("bytes_of_", int(sharding)), str(memory.live(), ", at most ", memory.peak()));
  return double(memory.live());
}

// Against those of one rank alone.
TEST(ShardedMemory, OfAQuarterOfTheModelIsAQuarter) {
  if (world().size() != 4) GTEST_SKIP() << "four ranks";
  const auto alone = make_single_communicator();
  const double whole = held_after(*alone, Sharding::none);
  EXPECT_LT(held_after(world().host(), Sharding::parameters) / whole, 0.27);
  EXPECT_LT(held_after(world().host(), Sharding::gradients) / whole, 0.27 * 0.75 + 0.25);
  EXPECT_LT(held_after(world().host(), Sharding::optimizer) / whole, 0.5 + 0.27 * 0.75);
}

const Case qlora{.name = "qlora", .dialect = "llama", .residual = "residual", .adapters = true, .larger = true, .quantised = true};

// Of the frozen matrices under adapters, too; what adapters themselves take is little beside them.
TEST(ShardedMemory, OfFrozenBlocksIsAPart) {
  if (world().size() == 1) GTEST_SKIP() << "one rank has all of it";
  LoraConfig lora;
  lora.rank = 4;
  const auto planned = [&](const char* shard) {
    ParallelConfig parallel;
    parallel.shard = shard;
    return plan_memory(model_of(qlora), lora, {}, {}, {}, parallel, 1, world().size());
  };
  const double whole = held_after(world().host(), Sharding::none, qlora), part = held_after(world().host(), Sharding::parameters, qlora);
  const MemoryPlan before = planned("none"), after = planned("parameters");
  EXPECT_NEAR(whole / double(before.weights + before.gradients + before.optimiser), 1, 0.05);
  EXPECT_NEAR(part / double(after.weights + after.gradients + after.optimiser), 1, 0.05);
  EXPECT_NEAR(double(after.quantised) / double(before.quantised), 1.0 / world().size(), 0.01);
}

TEST(ShardedMemory, IsWhatWasPlanned) {
  for (const char* shard : {"none", "optimizer", "gradients", "parameters"}) {
    for (Case one : {larger, offloaded}) {
      ParallelConfig parallel;
      parallel.shard = shard;
      OptimConfig optim;
      optim.offload = one.offload;
      TrainConfig train;
      train.precision = one.precision == Precision::bf16 ? "bf16" : "fp32";
      const MemoryPlan plan = plan_memory(model_of(larger), {}, {}, optim, train, parallel, 1, world().size());
      const double planned = double(plan.weights + plan.gradients + plan.optimiser + plan.host);
      EXPECT_NEAR(held_after(world().host(), parallel.sharding(), one) / planned, 1, 0.05) << shard << " " << one.name;
    }
  }
}

}  // namespace
}  // namespace braid
