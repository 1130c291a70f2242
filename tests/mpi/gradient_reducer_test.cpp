// SPDX-License-Identifier: Apache-2.0
#include "parallel/gradient_reducer.h"

#include <gtest/gtest.h>

#include "mpi_world.h"
#include "nn/precompiled.h"

namespace braid {
namespace {

using test::world;

class Reducer : public testing::Test {
 protected:
  Reducer() {
    for (int i = 0; i < 6; ++i) set_.add("w" + std::to_string(i), {100 + i, 7});
    set_.allocate(Precision::fp32, at::kCPU);
  }
  void contribute(Parameter& parameter) {
    parameter.gradient.add_(double(world().rank() + 1));
    parameter.gradient_contributed();
  }
  void expect_sums(double each) {
    const double expected = each * world().size() * (world().size() + 1) / 2;
    for (Parameter& p : set_.all()) {
      EXPECT_EQ(p.gradient.min().item<double>(), expected) << p.name;
      EXPECT_EQ(p.gradient.max().item<double>(), expected) << p.name;
    }
  }
  ParameterSet set_;
};

TEST_F(Reducer, SumsOverRanksWhateverOrderGradientsArriveIn) {
  GradientReducer reducer(set_, world().host(), {2000, 4000});
  std::vector<Parameter*> order = set_.in_buffer_order();
  std::swap(order[0], order[4]);
  reducer.arm();
  set_.start_backward();
  for (Parameter* parameter : order) contribute(*parameter);
  reducer.finish();
  expect_sums(1);
  if (world().size() > 1) EXPECT_GT(reducer.buckets(), 2u);
}

TEST_F(Reducer, SendsBucketsWhileBackwardStillRuns) {
  if (world().size() == 1) GTEST_SKIP() << "one rank sends nothing";
  GradientReducer reducer(set_, world().host(), {2000, 4000});
  reducer.arm();
  set_.start_backward();
  for (Parameter* parameter : set_.in_buffer_order()) contribute(*parameter);
  reducer.finish();
  EXPECT_EQ(reducer.overlapped(), reducer.buckets());
}

TEST_F(Reducer, AccumulatesMicroBatchesAndSendsOnce) {
  GradientReducer reducer(set_, world().host());
  for (int micro = 0; micro < 3; ++micro) {
    if (micro == 2) reducer.arm();
    set_.start_backward();
    for (Parameter* parameter : set_.in_buffer_order()) contribute(*parameter);
  }
  reducer.finish();
  expect_sums(3);
}

TEST_F(Reducer, AParameterWithoutAGradientThisStepDoesNotHangTheOthers) {
  GradientReducer reducer(set_, world().host(), {2000, 4000});
  reducer.arm();
  set_.start_backward();
  for (Parameter& parameter : set_.all()) {
    if (parameter.name != "w3") contribute(parameter);
  }
  reducer.finish();
  EXPECT_EQ(set_.named("w3").gradient.abs().max().item<double>(), 0.0);
  EXPECT_EQ(set_.named("w0").gradient.min().item<double>(), world().size() * (world().size() + 1) / 2.0);
}

}  // namespace
}  // namespace braid
