// SPDX-License-Identifier: Apache-2.0
#include "experiments/cluster.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace braid {
namespace {

ClusterConfig simple() {
  ClusterConfig cluster;
  cluster.nodes = 2;
  cluster.gpus_per_node = 4;
  cluster.link_bandwidth = 100;
  cluster.network_bandwidth = 10;
  cluster.link_latency = 1;
  cluster.network_latency = 10;
  return cluster;
}

// Four ranks of a node that sum 1 GB: six steps of a quarter at 100 GB/s.
TEST(Cluster, ARingTakesTheTimeOfItsStepsAndTheirBytes) {
  EXPECT_NEAR(ring_seconds(simple(), Ring::all_reduce, 1e9, 1, 4, 1), 6 * (1e-6 + 0.25e9 / 100e9), 1e-12);
  EXPECT_NEAR(ring_seconds(simple(), Ring::all_gather, 1e9, 2, 4, 1), 3 * (2e-6 + 0.25e9 / 100e9), 1e-12);
  EXPECT_EQ(ring_seconds(simple(), Ring::all_reduce, 1e9, 1, 1, 1), 0);
}

TEST(Cluster, RanksThatReachBeyondANodeUseTheNetwork) {
  EXPECT_NEAR(ring_seconds(simple(), Ring::reduce_scatter, 1e9, 1, 8, 1), 7 * (10e-6 + 0.125e9 / 10e9), 1e-12);
  EXPECT_NEAR(ring_seconds(simple(), Ring::reduce_scatter, 1e9, 1, 2, 4), 1 * (10e-6 + 0.5e9 / 10e9), 1e-12);
}

TEST(Cluster, AFileNamesItsMistakes) {
  const auto problem = [](const std::string& text) {
    ClusterConfig cluster;
    try {
      ConfigDocument::from_text(text, "mine.toml").read_into(cluster);
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(problem("gpus_pernode = 8").find("gpus_per_node"), std::string::npos);
  EXPECT_NE(problem("nodes = 0").find("nodes"), std::string::npos);
  EXPECT_EQ(problem("nodes = 2"), "");
}

}  // namespace
}  // namespace braid
