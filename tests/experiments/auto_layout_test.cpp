// SPDX-License-Identifier: Apache-2.0
#include "experiments/auto_layout.h"

#include <gtest/gtest.h>

namespace braid {
namespace {

constexpr int64_t gibibyte = int64_t{1} << 30;

TEST(AutoLayout, HostsWithAsManyRanksAreNodes) {
  ClusterConfig known;
  known.link_bandwidth = 7;
  const ClusterConfig cluster = cluster_of_ranks(known, {"b", "b", "a", "a", "c", "c"}, 10 * gibibyte);
  EXPECT_EQ(cluster.nodes, 3);
  EXPECT_EQ(cluster.gpus_per_node, 2);
  EXPECT_EQ(cluster.link_bandwidth, 7);
  EXPECT_GT(cluster.memory, 8);
  EXPECT_LT(cluster.memory, 10);
}

TEST(AutoLayout, OfUnevenHostsEachRankIsANode) {
  const ClusterConfig cluster = cluster_of_ranks({}, {"a", "b", "b"}, gibibyte);
  EXPECT_EQ(cluster.nodes, 3);
  EXPECT_EQ(cluster.gpus_per_node, 1);
}

}  // namespace
}  // namespace braid
