// SPDX-License-Identifier: Apache-2.0
// Weights and gradients spread over ranks: what each keeps, what crosses, and what is refused.
#include "parallel/sharded_set.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "comm/agreement.h"
#include "mpi_world.h"
#include "nn/precompiled.h"

namespace braid {
namespace {

using test::world;

class Sharded : public testing::TestWithParam<Sharding> {
 protected:
  Sharded() {
    for (int i = 0; i < 4; ++i) set_.add("blocks." + std::to_string(i) + ".w", {50 + i, 7}).reads_master = i == 1;
    set_.add("embedding.weight", {90, 5});
    set_.add("norm", {33}, vector_group);
  }
  void allocate(Precision precision) {
    set_.allocate(precision, at::kCPU);
    double value = 1;
    for (Parameter& p : set_.all()) p.master.copy_(at::arange(p.elements()).view(p.shape) * 0.01 + value++);
    set_.refresh_compute();
  }
  ShardedSet spread(BucketSizes sizes = {2000, 4000}) {
    return {set_, GetParam(), groups_, sizes};
  }
  void contribute(double factor = 1) {
    set_.start_backward();
    for (Parameter* parameter : set_.in_buffer_order()) {
      parameter->gradient_slot().add_(factor * (world().rank() + 1));
      parameter->gradient_contributed();
    }
  }
  // Every element of what this rank has is the sum over ranks, times `each`.
  void expect_sums(const ShardedSet& sharded, double each) {
    const double expected = each * world().size() * (world().size() + 1) / 2;
    for (const bool whole : {false, true}) {
      for (const UpdateRange& range : sharded.ranges(whole)) {
        for (const ParameterPart& part : range.parts) {
          const at::Tensor found = range.gradient.narrow(0, part.offset, part.count);
          EXPECT_EQ(found.min().item<double>(), expected) << part.parameter->name;
          EXPECT_EQ(found.max().item<double>(), expected) << part.parameter->name;
        }
      }
    }
  }
  ParameterSet set_;
  ShardGroups groups_{{world().host(), world().host()}, 0};
};

TEST_P(Sharded, GradientsOfAllMicroBatchesAreSummedWhereTheyAreKept) {
  allocate(Precision::fp32);
  ShardedSet sharded = spread();
  for (int step = 0; step < 2; ++step) {  // the second begins from nothing again
    sharded.gradients().zero();
    for (int micro = 0; micro < 3; ++micro) {
      sharded.gradients().arm(micro == 2);
      contribute();
    }
    sharded.gradients().finish();
    expect_sums(sharded, 3);
    EXPECT_EQ(sharded.gradients().overlapped(), sharded.units().size());
  }
}

TEST_P(Sharded, FullGradientsPassOneAfterTheOther) {
  if (GetParam() == Sharding::optimizer) GTEST_SKIP() << "they are kept";
  allocate(Precision::fp32);
  ShardedSet sharded = spread({1, 1});
  int64_t largest = 0;
  for (const ShardUnit& unit : sharded.units()) largest = std::max(largest, unit.whole ? 0 : 4 * unit.elements);
  sharded.gradients().zero();
  sharded.gradients().arm(true);
  contribute();
  sharded.gradients().finish();
  EXPECT_LE(sharded.gradients().most_passing(), 3 * largest);
  for (const Parameter& p : set_.all()) EXPECT_EQ(p.gradient.defined(), p.shape.size() == 1) << p.name;
}

TEST_P(Sharded, AParameterWithoutAGradientThisStepDoesNotHangTheOthers) {
  allocate(Precision::fp32);
  ShardedSet sharded = spread();
  sharded.gradients().zero();
  sharded.gradients().arm(true);
  set_.start_backward();
  for (Parameter& parameter : set_.all()) {
    if (parameter.name == "blocks.2.w") continue;
    parameter.gradient_slot().add_(1.0);
    parameter.gradient_contributed();
  }
  sharded.gradients().finish();
  for (const UpdateRange& range : sharded.ranges(false)) {
    for (const ParameterPart& part : range.parts) {
      const double expected = part.parameter->name == "blocks.2.w" ? 0 : world().size();
      EXPECT_EQ(range.gradient.narrow(0, part.offset, part.count).max().item<double>(), expected) << part.parameter->name;
    }
  }
}

// Each rank changes what it keeps; then every layer reads all of it.
TEST_P(Sharded, ChangedPartsReachTheLayersOfAllRanks) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    allocate(precision);
    std::map<std::string, at::Tensor> before;
    for (const Parameter& p : set_.all()) before[p.name] = p.master.clone();
    ShardedSet sharded = spread();
    for (const bool whole : {false, true}) {
      for (const UpdateRange& range : sharded.ranges(whole)) {
        at::Tensor weights = range.weights;
        weights.add_(1.0);
      }
    }
    sharded.weights().publish();
    sharded.weights().open();
    for (int64_t layer = 0; layer < 4; ++layer) {
      sharded.weights().enter(layer, layer + 1);
      for (const Parameter& p : set_.all()) {
        const bool elsewhere = p.name.starts_with("blocks.") && p.name != str("blocks.", layer, ".w");
        if (elsewhere) continue;
        const at::Tensor expected = before.at(p.name) + 1.0;
        EXPECT_TRUE(at::equal(p.compute, expected.to(compute_type(precision)))) << p.name;
        if (!p.reads_master) continue;
        EXPECT_TRUE(at::equal(p.master, expected)) << p.name;
      }
    }
    sharded.weights().close();
    for (const Parameter& p : set_.all()) {
      const bool gone = GetParam() == Sharding::parameters && p.shape.size() == 2;
      EXPECT_EQ(p.compute.defined(), !gone) << p.name;
    }
  }
}

// Or are published again before a step has asked for them, as after a checkpoint was loaded.
TEST_P(Sharded, MayGoWhileItsWeightsAreOnTheirWay) {
  allocate(Precision::fp32);
  ShardedSet sharded = spread();
  sharded.weights().publish();
  sharded.weights().publish();
}

TEST_P(Sharded, RanksThatCutDifferentlyAreToldSo) {
  if (world().size() == 1) GTEST_SKIP() << "one rank agrees with itself";
  if (world().rank() == world().size() - 1) set_.add("blocks.0.bias", {50, 8});
  allocate(Precision::fp32);
  try {
    spread();
    ADD_FAILURE() << "no rank noticed";
  } catch (const AgreedError& problem) {
    const std::string line = problem.what();
    EXPECT_TRUE(line.starts_with(str("parallel.shard: rank ", world().size() - 1, " spreads weights as rank 0 does not: ")))
        << line;
    EXPECT_EQ(line.find('\n'), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Stages, Sharded, testing::Values(Sharding::optimizer, Sharding::gradients, Sharding::parameters));

}  // namespace
}  // namespace braid
