// SPDX-License-Identifier: Apache-2.0
// What ranks that spread a model hold of it, beside one rank and beside the plan.
#include <gtest/gtest.h>

#include "../train/counting_allocator.h"
#include "mpi_world.h"
#include "spread_training.h"
#include "train/memory.h"

namespace braid {
namespace {

using test::Case;
using test::Training;
using test::world;

const Case larger{.name = "larger", .dialect = "poc", .residual = "residual", .larger = true};

const Case offloaded{.name = "offloaded", .dialect = "poc", .residual = "residual", .larger = true,
                     .precision = Precision::bf16, .offload = true};

const Case remembering{.name = "remembering", .dialect = "llama", .residual = "residual", .larger = true, .memory = true};

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

const Case qlora{.name = "qlora", .dialect = "llama", .residual = "residual", .adapters = true, .larger = true,
                 .quantised = true};

// Of the frozen matrices under adapters, too; what adapters themselves take is little beside them.
TEST(ShardedMemory, OfFrozenBlocksIsAPart) {
  if (world().size() == 1) GTEST_SKIP() << "one rank has all of it";
  LoraConfig lora;
  lora.rank = 4;
  const auto planned = [&](const char* shard) {
    ParallelConfig parallel;
    parallel.shard = shard;
    return plan_memory(test::model_of(qlora), lora, {}, {}, {}, parallel, 1, world().size());
  };
  const double whole = held_after(world().host(), Sharding::none, qlora);
  const double part = held_after(world().host(), Sharding::parameters, qlora);
  const MemoryPlan before = planned("none"), after = planned("parameters");
  EXPECT_NEAR(whole / double(before.weights + before.gradients + before.optimiser), 1, 0.05);
  EXPECT_NEAR(part / double(after.weights + after.gradients + after.optimiser), 1, 0.05);
  EXPECT_NEAR(double(after.quantised) / double(before.quantised), 1.0 / world().size(), 0.01);
}

TEST(ShardedMemory, IsWhatWasPlanned) {
  for (const char* shard : {"none", "optimizer", "gradients", "parameters"}) {
    for (const Case& one : {larger, offloaded, remembering}) {
      ParallelConfig parallel;
      parallel.shard = shard;
      OptimConfig optim;
      optim.offload = one.offload;
      TrainConfig train;
      train.precision = one.precision == Precision::bf16 ? "bf16" : "fp32";
      const MemoryPlan plan = plan_memory(test::model_of(one), {}, test::tables_of(one), optim, train, parallel, 1, world().size());
      const double planned = double(plan.weights + plan.gradients + plan.optimiser + plan.host);
      EXPECT_NEAR(held_after(world().host(), parallel.sharding(), one) / planned, 1, 0.05) << shard << " " << one.name;
    }
  }
}

}  // namespace
}  // namespace braid
