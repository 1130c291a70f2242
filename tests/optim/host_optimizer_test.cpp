// SPDX-License-Identifier: Apache-2.0
#include "optim/host_optimizer.h"

#include <gtest/gtest.h>

#include "nn/precompiled.h"
#include "optim/optimizer.h"

namespace braid {
namespace {

// Three tensors, of which pieces of 4096 elements cut the largest twice.
class OnTheHost : public testing::TestWithParam<const char*> {
 protected:
  struct Weights {
    Weights() {
      set.add("large", {100, 97}, matrix_group);
      set.add("small", {40, 9}, matrix_group);
      set.add("vector", {77}, vector_group);
      set.allocate(Precision::fp32, at::kCPU);
      for (Parameter& p : set.all()) p.master.copy_(at::linspace(-1, 1, p.elements()).view(p.shape));
    }
    void contribute(int step) {
      for (Parameter& p : set.all()) p.gradient.copy_((p.master * 3 + double(step)).sin());
    }
    ParameterSet set;
  };
  OptimConfig config() const {
    OptimConfig config;
    config.kind = GetParam();
    config.weight_decay = 0.1;
    config.decay = "matrices";
    return config;
  }
};

TEST_P(OnTheHost, PieceByPieceTheUpdateIsTheSameToTheBit) {
  Weights whole, pieces;
  const auto control = make_optimizer(whole_ranges(whole.set), config());
  HostOptimizer optimizer(whole_ranges(pieces.set), config(), 4096);
  for (int step = 0; step < 4; ++step) {
    whole.contribute(step);
    pieces.contribute(step);
    control->step(0.01, 1.0 + step);
    optimizer.step(0.01, 1.0 + step);
    EXPECT_TRUE(at::equal(whole.set.master(), pieces.set.master())) << step;
  }
}

// What one of them has stored the other goes on from.
TEST_P(OnTheHost, ItsStateIsThatOfTheOptimizerItself) {
  Weights whole, pieces;
  const auto control = make_optimizer(whole_ranges(whole.set), config());
  HostOptimizer optimizer(whole_ranges(pieces.set), config(), 4096);
  whole.contribute(1);
  pieces.contribute(1);
  control->step(0.01, 1.0);
  optimizer.step(0.01);
  int64_t found = 0, expected = 0;
  for (const OptimizerTensor& one : control->state()) expected += one.values.numel();
  for (const OptimizerTensor& piece : optimizer.state()) {
    for (const OptimizerTensor& one : control->state()) {
      const int64_t first = (piece.part.first - one.part.first) / one.block;
      if (one.kind != piece.kind || one.part.parameter->name != piece.part.parameter->name) continue;
      EXPECT_TRUE(at::equal(one.values.narrow(0, first, piece.values.numel()), piece.values)) << one.kind;
      found += piece.values.numel();
    }
  }
  EXPECT_EQ(found, expected);
}

INSTANTIATE_TEST_SUITE_P(Kinds, OnTheHost, testing::Values("adamw", "adamw8bit"));

}  // namespace
}  // namespace braid
