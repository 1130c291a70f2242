// SPDX-License-Identifier: Apache-2.0
// What each of several ranks keeps of a set, without any ranks.
#include "parallel/shard_plan.h"

#include <gtest/gtest.h>

#include <map>

#include "nn/precompiled.h"

namespace braid {
namespace {

struct Weights {
  Weights() {
    set_.add("embedding.weight", {31, 40});
    for (int layer = 0; layer < 3; ++layer) {
      const std::string block = "blocks." + std::to_string(layer);
      for (const char* name : {".in.weight", ".out.weight"}) set_.add(block + name, {40, 41}).reads_master = false;
      set_.add(block + ".ln1.weight", {40}, vector_group);
    }
    set_.add("head.weight", {31, 40}).reads_master = false;
    set_.allocate(Precision::fp32, at::kCPU);
  }
  ParameterSet set_;
};

class Plan : public Weights, public testing::TestWithParam<int> {};
class AnyPlan : public Weights, public testing::Test {};

TEST_P(Plan, GivesEachElementOfAMatrixToOneRank) {
  const int ranks = GetParam();
  for (const Sharding sharding : {Sharding::optimizer, Sharding::gradients, Sharding::parameters}) {
    std::map<std::string, int64_t> reached;
    for (const ShardUnit& unit : plan_units(set_, sharding, ranks, {4000, 20000})) {
      if (unit.whole) continue;
      EXPECT_EQ(unit.part * ranks, unit.elements);
      for (int rank = 0; rank < ranks; ++rank) {
        for (const ParameterPart& part : parts_of(unit, rank)) {
          EXPECT_EQ(part.first, reached[part.parameter->name]) << part.parameter->name << ", rank " << rank;
          EXPECT_EQ(part.first % 256, 0);
          EXPECT_EQ(part.offset % 256, 0);
          EXPECT_LE(part.offset + part.count, unit.part);
          reached[part.parameter->name] += part.count;
        }
      }
    }
    for (const Parameter& parameter : set_.all()) {
      EXPECT_EQ(reached[parameter.name], parameter.shape.size() == 2 ? parameter.elements() : 0) << parameter.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, Plan, testing::Values(2, 3, 4, 7));

// Weights that all ranks hold come before the first block that reads them: the head's with the last one's.
TEST_F(AnyPlan, KnowsWhichBlockReadsAUnitFirst) {
  for (const ShardUnit& unit : plan_units(set_, Sharding::optimizer, 2, {1, 5000})) {
    if (unit.whole) continue;
    for (const auto& place : unit.places) {
      const std::string& name = place.parameter->name;
      const int64_t reader = name == "head.weight" ? 2 : name == "embedding.weight" ? -1 : name.at(7) - '0';
      EXPECT_LE(unit.first_block, reader) << name;
      EXPECT_EQ(unit.first_block < 0, reader < 0) << name;
    }
  }
}

TEST_F(AnyPlan, GatheredUnitsAreOfOneBlockAndOthersAreNot) {
  std::map<int64_t, int> units;
  for (const ShardUnit& unit : plan_units(set_, Sharding::parameters, 2)) {
    ++units[unit.layer];
    for (const auto& place : unit.places) {
      const bool in_block = place.parameter->name.starts_with("blocks." + std::to_string(unit.layer));
      EXPECT_EQ(in_block, unit.layer >= 0) << place.parameter->name;
    }
  }
  EXPECT_EQ(units, (std::map<int64_t, int>{{-1, 3}, {0, 1}, {1, 1}, {2, 1}}));
  const std::vector<ShardUnit> joined = plan_units(set_, Sharding::gradients, 2);
  ASSERT_EQ(joined.size(), 3u);
  EXPECT_EQ(joined[0].places.size(), 7u);  // of which layers read the copies alone
  EXPECT_TRUE(joined[1].reads_master);
  EXPECT_TRUE(joined[2].whole);
}

TEST_F(AnyPlan, WhatIsWholeComesLastAndIsWholeEverywhere) {
  const std::vector<ShardUnit> units = plan_units(set_, Sharding::parameters, 4, {1, 1});
  bool whole = false;
  for (const ShardUnit& unit : units) {
    EXPECT_GE(unit.whole, whole);
    whole = unit.whole;
    if (!whole) continue;
    EXPECT_EQ(parts_of(unit, 3).front().count, unit.places.front().parameter->elements());
  }
}

}  // namespace
}  // namespace braid
