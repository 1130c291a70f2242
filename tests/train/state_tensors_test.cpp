// SPDX-License-Identifier: Apache-2.0
// A run's state as named tensors, shared out to ranks and back.
#include "train/state_tensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "../nn/support.h"
#include "../store/temp_folder.h"
#include "optim/adamw.h"
#include "optim/adamw8bit.h"
#include "parallel/shard_plan.h"
#include "store/checkpoint_manifest.h"

namespace braid {
namespace {

class State : public testing::TestWithParam<Precision> {
 protected:
  State()
      : model_(test::small_model("poc", "mhc"), GetParam(), at::Device(at::kCPU)),
        optimizer_(model_.parameters(), OptimConfig{}),
        tensors_(state_tensors(whole_ranges(model_.parameters()), optimizer_)) {
    at::Generator generator = seeded_generator(7);
    const at::NoGradGuard no_gradient;
    for (const StateTensor& tensor : tensors_) {
      at::Tensor values = tensor.values;
      values.normal_(0.0, 1.0, generator);
    }
  }
  Transformer model_;
  AdamW optimizer_;
  std::vector<StateTensor> tensors_;
};

TEST_P(State, HasWeightsAndBothMomentsOfEachParameter) {
  std::set<std::string> names, expected;
  for (const StateTensor& tensor : tensors_) names.insert(tensor.slice.name);
  for (const Parameter& parameter : model_.parameters().all()) {
    for (const char* prefix : {"model/", "optim/exp_avg/", "optim/exp_avg_sq/"})
      expected.insert(prefix + parameter.name);
  }
  EXPECT_EQ(names, expected);
  EXPECT_EQ(tensors_.size(), expected.size());
}

TEST_P(State, IsViewsOfWhatTrainingUses) {
  const Parameter& head = model_.parameters().named("head.weight");
  const auto found = std::find_if(tensors_.begin(), tensors_.end(),
                                  [](const StateTensor& tensor) { return tensor.slice.name == "model/head.weight"; });
  ASSERT_NE(found, tensors_.end());
  EXPECT_EQ(found->slice.shape, head.shape);
  EXPECT_EQ(found->values.const_data_ptr(), head.master.const_data_ptr());
  EXPECT_EQ(found->values.scalar_type(), master_type(GetParam()));  // masters, not bf16 copies
}

TEST_P(State, IsSharedOutOnceAndCutAtMultiplesOfTheAlignment) {
  std::map<std::string, int64_t> wholes;
  int64_t all_bytes = bytes_of(tensors_);
  for (const StateTensor& tensor : tensors_) wholes[tensor.slice.name] = tensor.slice.count;
  for (int ranks = 1; ranks <= 7; ++ranks) {
    std::map<std::string, int64_t> reached;  // of each tensor, so many elements, in the order of the ranks
    int64_t bytes = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      const std::vector<StateTensor> share = share_of(tensors_, rank, ranks);
      bytes += bytes_of(share);
      EXPECT_LT(std::abs(double(bytes_of(share)) - double(all_bytes) / ranks), 2 * 256 * 8 + 8)
          << rank << " of " << ranks;
      for (const StateTensor& part : share) {
        EXPECT_EQ(part.slice.first, reached[part.slice.name])
            << part.slice.name << ", rank " << rank << " of " << ranks;
        reached[part.slice.name] += part.slice.count;
        EXPECT_EQ(part.values.numel(), part.slice.count);
        EXPECT_EQ(part.slice.first % ParameterSet::alignment, 0) << part.slice.name;
      }
    }
    EXPECT_EQ(reached, wholes) << ranks << " ranks";
    EXPECT_EQ(bytes, all_bytes);
  }
}

// Rows that a rank alone has are stored by it, whatever the others' share.
TEST_P(State, WhatARankAloneHasStaysWithIt) {
  std::vector<StateTensor> all = tensors_;
  const std::vector<StateTensor> before = share_of(all, 1, 3);
  ParameterSet rows;
  Parameter& table = rows.add("table", {30, 4});
  table.slice = {{10, 0}, {10, 4}};
  rows.allocate(GetParam(), at::kCPU);
  const AdamW optimizer(rows, OptimConfig{});
  for (StateTensor& tensor : state_tensors(whole_ranges(rows), optimizer)) {
    tensor.own = true;
    all.push_back(tensor);
  }
  const std::vector<StateTensor> share = share_of(all, 1, 3);
  ASSERT_EQ(share.size(), before.size() + 3);
  for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(share[i].slice.first, before[i].slice.first);
  for (size_t i = before.size(); i < share.size(); ++i) {
    EXPECT_EQ(share[i].slice.count, 40);
    EXPECT_EQ(share[i].slice.box.origin, (Extent{10, 0}));
    EXPECT_EQ(share[i].slice.box.extent, (Extent{10, 4}));
  }
}

// A packed weight [12, 3] of which each of two pairs of ranks holds rows of both halves, the ranks of a pair the same.
TEST_P(State, OfPackedWeightsThatSomeRanksHoldComesBackWhole) {
  const TempFolder folder;
  const at::NoGradGuard no_gradient;
  const at::Tensor values = at::arange(36, at::kDouble).view({12, 3}).to(master_type(GetParam()));
  Manifest manifest;
  for (int rank = 0; rank < 4; ++rank) {
    const int64_t half = rank % 2;
    ParameterSet set;
    Parameter& packed = set.add("packed", {12, 3});
    packed.parts = {{{3 * half, 0}, {3, 3}}, {{6 + 3 * half, 0}, {3, 3}}};
    packed.slice.shape = {6, 3};
    set.allocate(GetParam(), at::kCPU);
    take_values(packed, values);
    const AdamW optimizer(set, OptimConfig{});
    std::vector<StateTensor> all = state_tensors(whole_ranges(set), optimizer);
    for (StateTensor& tensor : all) tensor.holders = {HolderAxis::data, rank / 2, 2};
    std::vector<SliceData> slices;
    for (const StateTensor& part : share_of(all, rank, 4)) {
      slices.push_back({part.slice, static_cast<const std::byte*>(part.values.const_data_ptr())});
    }
    manifest.shards.push_back(write_shard(folder.path(), {rank, 4}, {}, slices));
  }
  write_manifest(folder.path(), manifest);
  ParameterSet whole;
  whole.add("packed", {12, 3});
  whole.allocate(GetParam(), at::kCPU);
  const AdamW optimizer(whole, OptimConfig{});
  load_tensors(CheckpointReader(folder.path(), verify_checkpoint(folder.path())), state_tensors(whole_ranges(whole), optimizer));
  EXPECT_TRUE(at::equal(whole.named("packed").master, values));
}

// Written by three ranks, read whole.
TEST_P(State, ComesBackFromACheckpoint) {
  const TempFolder folder;
  Manifest manifest;
  for (int rank = 0; rank < 3; ++rank) {
    std::vector<SliceData> slices;
    for (const StateTensor& part : share_of(tensors_, rank, 3)) {
      slices.push_back({part.slice, static_cast<const std::byte*>(part.values.const_data_ptr())});
    }
    manifest.shards.push_back(write_shard(folder.path(), {rank, 3}, {}, slices));
  }
  write_manifest(folder.path(), manifest);
  std::vector<at::Tensor> before;
  const at::NoGradGuard no_gradient;
  for (const StateTensor& tensor : tensors_) {
    before.push_back(tensor.values.clone());
    at::Tensor values = tensor.values;
    values.zero_();
  }
  load_tensors(CheckpointReader(folder.path(), verify_checkpoint(folder.path())), tensors_);
  for (size_t i = 0; i < tensors_.size(); ++i) {
    EXPECT_TRUE(at::equal(tensors_[i].values, before[i])) << tensors_[i].slice.name;
  }
}

// Three ranks keep a part each, moments of 8 bits with their blocks; one reads it all.
TEST(SpreadState, ComesTogetherFromTheRanksThatKeepIt) {
  ModelConfig config = test::small_model("llama", "mhc");
  config.width = 48;  // enough for moments of 8 bits
  config.mlp_width = 100;
  Transformer model(config, Precision::fp32, at::kCPU);
  ParameterSet& set = model.parameters();
  const TempFolder folder;
  const at::NoGradGuard no_gradient;
  at::Generator generator = seeded_generator(7);
  Manifest manifest;
  std::vector<StateTensor> kept;
  constexpr int ranks = 3;
  for (int rank = 0; rank < ranks; ++rank) {
    std::vector<UpdateRange> spread, whole;
    for (const ShardUnit& unit : plan_units(set, Sharding::gradients, ranks)) {
      const at::Tensor weights = at::zeros({unit.part});
      (unit.whole ? whole : spread).push_back({unit.group, 1, weights, weights, parts_of(unit, rank)});
    }
    std::vector<StateTensor> mine;
    for (const auto& [ranges, own] : {std::pair(spread, true), std::pair(whole, false)}) {
      for (StateTensor& tensor : state_tensors(ranges, AdamW8bit(ranges, OptimConfig{}))) {
        tensor.own = own;
        mine.push_back(tensor);
      }
    }
    std::vector<SliceData> slices;
    for (StateTensor& part : share_of(mine, rank, ranks)) {
      part.values.random_(0, 100, generator);
      slices.push_back({part.slice, static_cast<const std::byte*>(part.values.const_data_ptr())});
      kept.push_back(part);
    }
    manifest.shards.push_back(write_shard(folder.path(), {rank, ranks}, {}, slices));
  }
  write_manifest(folder.path(), manifest);
  const AdamW8bit optimizer(set, OptimConfig{});
  const std::vector<StateTensor> all = state_tensors(whole_ranges(set), optimizer);
  load_tensors(CheckpointReader(folder.path(), verify_checkpoint(folder.path())), all);
  std::map<std::string, at::Tensor> found;
  for (const StateTensor& tensor : all) found[tensor.slice.name] = tensor.values;
  int64_t elements = 0, blocks = 0;
  for (const StateTensor& part : kept) {
    EXPECT_TRUE(at::equal(found.at(part.slice.name).narrow(0, part.slice.first, part.slice.count), part.values))
        << part.slice.name << " from " << part.slice.first;
    elements += part.slice.name.starts_with("model/") ? part.slice.count : 0;
    blocks += part.slice.name.starts_with("optim/exp_avg_absmax/") ? 1 : 0;
  }
  EXPECT_EQ(elements, set.elements());
  EXPECT_GT(blocks, 0);
}

INSTANTIATE_TEST_SUITE_P(Precisions, State, testing::Values(Precision::fp32, Precision::bf16, Precision::fp64));

}  // namespace
}  // namespace braid
