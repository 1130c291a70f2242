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

// Four ranks of a node that sum 1 GB: two halvings and two doublings, three quarters out and three quarters in at 100 GB/s.
TEST(Cluster, ACollectiveTakesTheTimeOfItsStepsAndTheirBytes) {
  EXPECT_NEAR(collective_seconds(simple(), Collective::all_reduce, 1e9, 1, 4, 1), 4e-6 + 1.5e9 / 100e9, 1e-12);
  EXPECT_NEAR(collective_seconds(simple(), Collective::all_gather, 1e9, 2, 4, 1), 4e-6 + 0.75e9 / 100e9, 1e-12);
  EXPECT_NEAR(collective_seconds(simple(), Collective::all_gather, 1e9, 1, 3, 1), 2e-6 + 2e9 / 3 / 100e9, 1e-12);
  EXPECT_EQ(collective_seconds(simple(), Collective::all_reduce, 1e9, 1, 1, 1), 0);
}

TEST(Cluster, RanksThatReachBeyondANodeUseTheNetwork) {
  EXPECT_NEAR(collective_seconds(simple(), Collective::reduce_scatter, 1e9, 1, 8, 1), 30e-6 + 0.875e9 / 10e9, 1e-12);
  EXPECT_NEAR(collective_seconds(simple(), Collective::reduce_scatter, 1e9, 1, 2, 4), 10e-6 + 0.5e9 / 10e9, 1e-12);
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
