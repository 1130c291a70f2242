// SPDX-License-Identifier: Apache-2.0
// Training with a model spread over the ranks, beside one rank that has all of it: 20 steps, the same numbers.
#include <gtest/gtest.h>

#include "mpi_world.h"
#include "spread_training.h"

namespace braid {
namespace {

using test::Case;
using test::Numbers;
using test::Training;
using test::world;

// Key biases and the stream logits of the poc's form have a gradient of zero, of which Adam makes steps of rounding errors.
bool has_gradient(const std::string& name) {
  return name.find(".attn.in.bias") == std::string::npos && name.find("mix.") == std::string::npos;
}

// The largest difference between what this rank keeps and the same elements of all.
double largest_difference(const Numbers& spread, const Numbers& control) {
  double largest = 0;
  for (const auto& [place, values] : spread.weights) {
    const size_t space = place.find(' ');
    const std::string name = place.substr(0, space);
    if (!has_gradient(name)) continue;
    const at::Tensor expected = control.weights.at(name + " 0").narrow(0, std::stoll(place.substr(space)), values.numel());
    largest = std::max(largest, (values - expected).abs().max().item<double>());
  }
  return largest;
}

class ShardedTraining : public testing::TestWithParam<Case> {};

// What was found is recorded: --gtest_output=xml writes it.
TEST_P(ShardedTraining, GivesTheNumbersOfOneRank) {
  if (world().size() == 1) GTEST_SKIP() << "one rank has all of it";
  constexpr int steps = 20;
  const Case& one = GetParam();
  // Roundings of bf16 and of 8 bits amplify the order of a sum over ranks: there the control has as many.
  const bool exact = one.precision == Precision::fp32 && one.optimizer == "adamw";
  const auto alone = make_single_communicator();
  const Numbers control = Training(one, exact ? *alone : world().host(), Sharding::none).run(steps);
  EXPECT_GT(control.losses.front() - control.losses.back(), 0.1);  // it does train
  for (const auto& [name, sharding] : {std::pair("optimizer", Sharding::optimizer), std::pair("gradients", Sharding::gradients),
                                       std::pair("parameters", Sharding::parameters)}) {
    const Numbers spread = Training(one, world().host(), sharding).run(steps);
    double losses = 0, norms = 0;
    for (int step = 0; step < steps; ++step) {
      losses = std::max(losses, std::abs(spread.losses[step] - control.losses[step]));
      norms = std::max(norms, std::abs(spread.norms[step] / control.norms[step] - 1));
    }
    EXPECT_LE(losses, 1e-5) << name;
    EXPECT_LE(norms, one.norm_tolerance) << name;
    const double weights = exact ? largest_difference(spread, control) : 0;
    EXPECT_LE(weights, 1e-4) << name;
    RecordProperty(name, str(losses, " ", norms, " ", weights));
  }
}

// What hybrid sharding shares with whole ranks' is checked there; here the same in two groups.
TEST(HybridSharding, GivesTheNumbersOfOneRank) {
  if (world().size() % 2 != 0) GTEST_SKIP() << "ranks that make two groups";
  constexpr int steps = 12;
  const Case one{.name = "hybrid", .dialect = "llama", .residual = "mhc", .form = "paper", .micro = 1};
  const auto alone = make_single_communicator();
  const Numbers control = Training(one, *alone, Sharding::none).run(steps);
  for (const Sharding sharding : {Sharding::optimizer, Sharding::gradients, Sharding::parameters}) {
    const Numbers spread = Training(one, world().host(), sharding, world().size() / 2).run(steps);
    for (int step = 0; step < steps; ++step) {
      EXPECT_NEAR(spread.losses[step], control.losses[step], 1e-5) << int(sharding);
      EXPECT_NEAR(spread.norms[step] / control.norms[step], 1, 1e-5) << int(sharding);
    }
    EXPECT_LE(largest_difference(spread, control), 1e-4) << int(sharding);
  }
}

std::vector<Case> cases() {
  return {
      {.name = "poc", .dialect = "poc", .residual = "residual"},
      {.name = "poc_mhc_recomputing", .dialect = "poc", .residual = "mhc", .recompute = true, .micro = 1},
      {.name = "poc_hc", .dialect = "poc", .residual = "hc", .norm_tolerance = 5e-5},
      {.name = "llama_accumulating", .dialect = "llama", .residual = "residual", .tied = true, .micro = 1},
      {.name = "paper_mhc_accumulating", .dialect = "llama", .residual = "mhc", .form = "paper", .micro = 2},
      {.name = "adapters_recomputing", .dialect = "llama", .residual = "residual", .adapters = true, .recompute = true, .micro = 1},
      {.name = "qlora", .dialect = "llama", .residual = "residual", .adapters = true, .recompute = true, .micro = 1,
       .quantised = true},
      {.name = "dora", .dialect = "llama", .residual = "residual", .tied = true, .adapters = true},
      {.name = "bf16", .dialect = "llama", .residual = "residual", .precision = Precision::bf16},
      {.name = "bf16_accumulating", .dialect = "llama", .residual = "residual", .tied = true, .micro = 1,
       .precision = Precision::bf16},
      {.name = "moments_of_8_bits", .dialect = "llama", .residual = "residual", .optimizer = "adamw8bit"},
  };
}

INSTANTIATE_TEST_SUITE_P(Models, ShardedTraining, testing::ValuesIn(cases()),
                         [](const auto& info) { return std::string(info.param.name); });

// Masters and moments in host memory are updated as they would be on the device.
TEST(OffloadedTraining, ChangesNoNumber) {
  for (Case one : {Case{.name = "fp32", .dialect = "llama", .residual = "mhc", .form = "paper", .tied = true, .micro = 2},
                   Case{.name = "bf16", .dialect = "llama", .residual = "residual", .micro = 1, .precision = Precision::bf16},
                   Case{.name = "adapters", .dialect = "llama", .residual = "residual", .adapters = true},
                   Case{.name = "8bit", .dialect = "poc", .residual = "residual", .optimizer = "adamw8bit"}}) {
    for (const Sharding sharding : {Sharding::none, Sharding::optimizer, Sharding::gradients, Sharding::parameters}) {
      one.offload = false;
      const Numbers control = Training(one, world().host(), sharding).run(5);
      one.offload = true;
      const Numbers found = Training(one, world().host(), sharding).run(5);
      // Whole gradients cross in other pieces, and MPI adds those of three ranks in an order that follows from their size; the
      // squares of a norm are added up in these pieces.
      const double tolerance = sharding == Sharding::none && world().size() > 2 ? 1e-5 : 0;
      for (size_t step = 0; step < control.losses.size(); ++step) {
        EXPECT_NEAR(found.losses[step], control.losses[step], tolerance) << one << " " << int(sharding);
        EXPECT_NEAR(found.norms[step] / control.norms[step], 1, std::max(tolerance, 1e-15)) << one << " " << int(sharding);
      }
      if (tolerance > 0) continue;
      ASSERT_EQ(found.weights.size(), control.weights.size());
      for (const auto& [place, values] : found.weights) EXPECT_TRUE(at::equal(values, control.weights.at(place))) << one << place;
    }
  }
}

}  // namespace
}  // namespace braid
