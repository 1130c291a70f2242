// SPDX-License-Identifier: Apache-2.0
#include "train/trained_sets.h"

#include <gtest/gtest.h>

#include <cmath>

#include "mpi_world.h"
#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"

namespace braid {
namespace {

using test::world;

// Larger than caches, so that each matrix is cleared when it is first added to.
TEST(TrainedSets, ALargeSetsGradientsBeginAtZeroInEveryStep) {
  ParameterSet set;
  Parameter &wanted = set.add("wanted", {3000, 3000}), &unwanted = set.add("unwanted", {300, 300}), &vector = set.add("vector", {300}, 1);
  set.allocate(Precision::fp32, at::kCPU);
  set.gradient().fill_(7);
  const TrainRanks ranks{world().host(), world().data()};
  TrainedSets sets({{set, OptimConfig()}}, {ranks});
  for (int step = 0; step < 2; ++step) {
    sets.zero_gradients();
    for (const bool last : {false, true}) {  // micro-batches
      sets.arm(last);
      sets.start_backward();
      for (Parameter* parameter : {&wanted, &vector}) {
        parameter->gradient_slot().add_(1);
        parameter->gradient_contributed();
      }
    }
    sets.finish();
    EXPECT_TRUE(wanted.gradient.eq(2.0 * world().size()).all().item<bool>());
    EXPECT_TRUE(vector.gradient.eq(2.0 * world().size()).all().item<bool>());
    EXPECT_TRUE(unwanted.gradient.eq(0).all().item<bool>());
    EXPECT_EQ(wanted.gradient.data_ptr(), set.gradient().narrow(0, wanted.offset, 1).data_ptr());
  }
}

double norm_of(const TrainedSets& sets) {
  at::Tensor own = sets.own_squares();
  world().data().all_reduce(buffer_of(own), ReduceOp::sum).wait();
  const double shared = sets.shared_norm().item<double>();
  return std::sqrt(shared * shared + own.item<double>());
}

// However gradients are held: larger than caches, spread, or made anew for each micro-batch.
TEST(TrainedSets, WhoTakesTheFirstContributionMayWriteIt) {
  for (const Sharding sharding : {Sharding::none, Sharding::optimizer, Sharding::gradients}) {
    ParameterSet set;
    Parameter &written = set.add("written", {3000, 3000}), &added = set.add("added", {301, 300}), &vector = set.add("vector", {300}, 1);
    set.add("unwanted", {300, 300});
    set.allocate(Precision::fp32, at::kCPU);
    for (Parameter& parameter : set.all()) parameter.gradient.fill_(7);  // not what lies between them, which is always zero
    const TrainRanks ranks{world().host(), world().data()};
    TrainedSets sets({{set, OptimConfig()}}, {ranks}, sharding);
    for (int step = 0; step < 2; ++step) {
      sets.zero_gradients();
      for (const bool last : {false, true}) {
        sets.arm(last);
        sets.start_backward();
        if (written.takes_first_contribution()) written.gradient.fill_(1);
        else written.gradient_slot().add_(1);
        for (Parameter* parameter : {&added, &vector}) parameter->gradient_slot().add_(1);
        for (Parameter* parameter : {&added, &vector, &written}) parameter->gradient_contributed();
      }
      sets.finish();
      const double ones = 3000 * 3000 + 301 * 300 + 300;
      EXPECT_NEAR(norm_of(sets), 2.0 * world().size() * std::sqrt(ones), 1e-3) << int(sharding) << " step " << step;
    }
  }
}

}  // namespace
}  // namespace braid
