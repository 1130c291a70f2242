// SPDX-License-Identifier: Apache-2.0
#include "experiments/layout_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace braid {
namespace {

RunConfig llama() {
  RunConfig config;
  config.model.dialect = "llama";
  config.model.layers = 4;
  config.model.width = 64;
  config.model.heads = 4;
  config.model.mlp_width = 128;
  config.model.vocabulary = 256;
  config.model.context = 32;
  config.train.batch = 8;
  return config;
}

ClusterConfig cluster_of(int64_t nodes, int64_t gpus) {
  ClusterConfig cluster;
  cluster.nodes = nodes;
  cluster.gpus_per_node = gpus;
  return cluster;
}

const LayoutPlan& found(const std::vector<LayoutPlan>& plans, const std::string& shard, int64_t tensor) {
  const auto at = std::find_if(plans.begin(), plans.end(), [&](const LayoutPlan& plan) {
    return plan.layout.parallel.shard == shard && plan.layout.parallel.tensor == tensor && plan.layout.parallel.pipeline == 1;
  });
  if (at == plans.end()) throw Error(str("no layout ", shard, " with tensor ", tensor));
  return *at;
}

TEST(LayoutPlan, OneGpuSendsNothingAndWaitsForNobody) {
  const auto plans = plan_layouts(llama(), cluster_of(1, 1));
  for (const LayoutPlan& plan : plans) {
    EXPECT_EQ(plan.traffic.total(), 0);
    EXPECT_EQ(plan.waiting_seconds, 0);
    const double useful = plan.utilisation / cluster_of(1, 1).reached;
    if (plan.layout.recompute == Recompute::none) EXPECT_NEAR(useful, 1, 1e-9);
    if (plan.layout.recompute == Recompute::blocks) EXPECT_NEAR(useful, 0.75, 1e-9);
    if (plan.layout.recompute == Recompute::attention) EXPECT_TRUE(useful > 0.8 && useful < 0.95) << useful;
  }
}

TEST(LayoutPlan, SpreadingMoreKeepsLessOnARank) {
  const auto plans = best_of_each(plan_layouts(llama(), cluster_of(1, 4)), cluster_of(1, 4));
  const auto resident = [&](const char* shard) {
    const MemoryPlan& m = found(plans, shard, 1).memory;
    return m.weights + m.gradients + m.optimiser;
  };
  EXPECT_GT(resident("none"), resident("optimizer"));
  EXPECT_GT(resident("optimizer"), resident("gradients"));
  EXPECT_GT(resident("gradients"), resident("parameters"));
  EXPECT_LT(found(plans, "none", 4).memory.weights, found(plans, "none", 1).memory.weights / 3);
}

TEST(LayoutPlan, SharingTokensKeepsFewerActivations) {
  RunConfig config = llama();
  config.train.batch = 1;
  config.model.context = 256;
  const auto plans = best_of_each(plan_layouts(config, cluster_of(1, 4)), cluster_of(1, 4));
  ASSERT_EQ(found(plans, "none", 1).layout.parallel.context, 4);  // a single sample
  const LayoutPlan& shared = found(plans, "none", 1);
  EXPECT_GT(shared.traffic.keys, 0);
  const auto whole = plan_layouts(config, cluster_of(1, 1));
  EXPECT_LT(shared.memory.activations, found(whole, "none", 1).memory.activations / 3);
}

// What crosses between nodes is a part of what would.
TEST(LayoutPlan, GroupsOfANodeKeepMoreAndWaitLessForAThinNetwork) {
  ClusterConfig cluster = cluster_of(4, 2);
  const auto best = best_of_each(plan_layouts(llama(), cluster), cluster);
  const auto of = [&](int64_t group) {
    const auto at = std::find_if(best.begin(), best.end(), [&](const LayoutPlan& plan) {
      const ParallelConfig& p = plan.layout.parallel;
      return p.shard == "parameters" && p.tensor == 1 && p.shard_ranks == group;
    });
    if (at == best.end()) throw Error("no such layout");
    return *at;
  };
  EXPECT_GT(of(2).memory.optimiser, of(0).memory.optimiser);
  EXPECT_GT(of(2).traffic.parts, 0);
  EXPECT_EQ(of(0).traffic.parts, 0);
  EXPECT_LE(of(2).waiting_seconds, of(0).waiting_seconds);
}

// Where the host has room: 4 bytes for a master and 8 for both moments.
TEST(LayoutPlan, MastersGoToTheHostWhereNothingElseFits) {
  ClusterConfig cluster = cluster_of(1, 1);
  const auto smallest = [&] {
    int64_t bytes = std::numeric_limits<int64_t>::max();
    for (const LayoutPlan& plan : plan_layouts(llama(), cluster)) bytes = std::min(bytes, plan.memory.total());
    return bytes;
  };
  cluster.memory = 0.9 * double(smallest()) / std::pow(2.0, 30);
  const auto any_fits = [&](const std::vector<LayoutPlan>& plans) {
    return std::any_of(plans.begin(), plans.end(), [&](const LayoutPlan& plan) { return fits(plan, cluster); });
  };
  EXPECT_FALSE(any_fits(plan_layouts(llama(), cluster)));
  cluster.host_memory = 1;
  const auto plans = plan_layouts(llama(), cluster);
  EXPECT_TRUE(any_fits(plans));
  for (const LayoutPlan& plan : plans) {
    EXPECT_TRUE(plan.layout.offload || !fits(plan, cluster));
    EXPECT_EQ(plan.memory.host, plan.layout.offload ? 12 * count_parameters(llama().model) : 0);
  }
  cluster.host_memory = 1e-3;
  EXPECT_FALSE(any_fits(plan_layouts(llama(), cluster)));
}

TEST(LayoutPlan, WhatIsFrozenUnderAdaptersHasNoGradientsAndIsSpreadWithThem) {
  RunConfig config = llama();
  config.lora.rank = 4;
  const auto plans = best_of_each(plan_layouts(config, cluster_of(1, 4)), cluster_of(1, 4));
  const LayoutPlan &whole = found(plans, "none", 1), &spread = found(plans, "parameters", 1);
  EXPECT_EQ(whole.memory.gradients, 4 * lora_elements(config.model, config.lora));
  EXPECT_LT(spread.memory.weights, whole.memory.weights / 2);
  EXPECT_GT(spread.traffic.weights, whole.memory.weights / 8);
}

TEST(LayoutPlan, HeadsThatDoNotDivideAreNoLayout) {
  RunConfig config = llama();
  config.model.kv_heads = 2;
  const auto plans = plan_layouts(config, cluster_of(1, 4));
  EXPECT_TRUE(std::none_of(plans.begin(), plans.end(), [](const LayoutPlan& p) { return p.layout.parallel.tensor == 4; }));
  EXPECT_TRUE(std::any_of(plans.begin(), plans.end(), [](const LayoutPlan& p) { return p.layout.parallel.tensor == 2; }));
}

TEST(LayoutPlan, WhereSomeFitTheFirstIsTheFastestThatDoes) {
  ClusterConfig cluster = cluster_of(1, 4);
  const auto all = plan_layouts(llama(), cluster);
  const auto smallest = std::min_element(all.begin(), all.end(), [](const LayoutPlan& a, const LayoutPlan& b) {
    return a.memory.total() < b.memory.total();
  });
  cluster.memory = 1.3 * double(smallest->memory.total()) / (1 << 30);
  const auto best = best_of_each(all, cluster);
  ASSERT_TRUE(fits(best.front(), cluster));
  for (const LayoutPlan& plan : all) {
    if (fits(plan, cluster)) EXPECT_GE(plan.step_seconds(), best.front().step_seconds());
  }
  EXPECT_FALSE(fits(best.back(), cluster));
}

TEST(LayoutPlan, ModelsOfManyGpusArePlannedInSeconds) {
  RunConfig config = llama();
  config.model.layers = 80;
  config.model.width = 8192;
  config.model.heads = 64;
  config.model.kv_heads = 8;
  config.model.mlp_width = 28672;
  config.model.vocabulary = 128256;
  config.model.context = 4096;
  config.train.batch = 32768;
  config.train.precision = "bf16";
  const auto best = best_of_each(plan_layouts(config, cluster_of(2048, 8)), cluster_of(2048, 8));
  ASSERT_TRUE(fits(best.front(), cluster_of(2048, 8)));
  EXPECT_EQ(best.front().layout.data * best.front().layout.parallel.mesh().ranks(), 16384);
}

TEST(LayoutPlan, WhatATrainingRunRefusesIsNoLayout) {
  RunConfig config = llama();
  config.optim.kind = "adamw8bit";
  for (const LayoutPlan& plan : plan_layouts(config, cluster_of(1, 4))) {
    EXPECT_EQ(plan.layout.parallel.tensor, 1);
  }
}

// Rows are the more the wider the tables; nothing is cut along another axis.
TEST(LayoutPlan, OfAHashMemoryRowsAreSentBesideTheRest) {
  RunConfig config = llama();
  config.memory.trains_model = true;
  const auto without = plan_layouts(config, cluster_of(1, 4));
  config.memory.layers = {1};
  config.memory.table_size = 300;
  const auto plans = plan_layouts(config, cluster_of(1, 4));
  const LayoutPlan &whole = found(plans, "none", 1), &spread = found(plans, "parameters", 1);
  EXPECT_GT(whole.traffic.rows, 0);
  EXPECT_EQ(whole.traffic.rows, spread.traffic.rows);
  EXPECT_GE(whole.traffic.gradients - found(without, "none", 1).traffic.gradients,
            4 * hash_memory_dense_elements(config.model, config.memory));
  EXPECT_TRUE(std::all_of(plans.begin(), plans.end(), [](const LayoutPlan& p) { return p.layout.data == 4; }));
  config.memory.width *= 2;
  EXPECT_GT(found(plan_layouts(config, cluster_of(1, 4)), "none", 1).traffic.rows, whole.traffic.rows);
}

// Phases of two lengths, of which the second is read raw on a quarter of its steps.
TEST(LayoutPlan, OfGistsEachKindOfStepIsPlanned) {
  RunConfig config = llama();
  config.data.kind = "passkey";
  config.gist.count = 1;
  config.gist.shard_segments = true;
  config.gist.phases = {"segments=16 tokens=64 steps=3", "segments=32 counts=1,2 tokens=128 steps=1 raw=0.25"};
  const auto plans = plan_layouts(config, cluster_of(1, 4));
  const LayoutPlan& plan = found(plans, "none", 1);
  ASSERT_EQ(plan.steps.size(), 5u);
  double share = 0, sent = 0;
  for (const GistStepPlan& each : plan.steps) {
    share += each.step.share;
    sent += each.step.share * double(each.traffic.total());
  }
  EXPECT_NEAR(share, 1, 1e-12);
  EXPECT_NEAR(plan.steps[0].step.share, 0.75, 1e-12);
  EXPECT_EQ(plan.steps[0].step.shape.samples, 4);
  EXPECT_NEAR(sent, double(plan.traffic.total()), 4);
  EXPECT_GT(plan.steps[2].traffic.keys, 30 * plan.steps[1].traffic.keys);  // 32 columns of a segment instead of one gist
  EXPECT_TRUE(std::all_of(plans.begin(), plans.end(), [](const LayoutPlan& p) { return p.layout.data == 4; }));
  config.gist.phases = {"segments=32 tokens=256 steps=1"};
  EXPECT_GT(found(plan_layouts(config, cluster_of(1, 4)), "none", 1).memory.activations, plan.memory.activations);
}

TEST(LayoutPlan, WhereNothingIsPossibleItIsSaid) {
  EXPECT_THROW(plan_layouts(llama(), cluster_of(1024, 8)), UsageError);  // 8 samples of 32 tokens, 4 layers
}

}  // namespace
}  // namespace braid
