// SPDX-License-Identifier: Apache-2.0
#include "experiments/sweep_plan.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"

namespace braid {
namespace {

RunConfig recommended() {
  RunConfig base;
  base.model.layers = 30;
  base.sweep.epochs = {1, 3, 10};
  base.sweep.learning_rates = {1e-5, 2e-5, 2e-4};
  base.sweep.lora_ranks = {8, 16};
  base.sweep.seeds = {0, 1, 2};
  return base;
}

TEST(SweepPlan, GoesAlongEpochsRatesAndRanksOfAdapters) {
  const SweepPlan plan = plan_sweep(recommended(), "out");
  ASSERT_EQ(plan.runs.size(), 54u);
  std::set<std::string> names;
  for (const SweepRun& run : plan.runs) names.insert(run.name);
  EXPECT_EQ(names.size(), 54u);
  EXPECT_EQ(plan.runs.front().name, "30l_baseline_e1_lr1e-05_r8_s0");
  const SweepRun& last = plan.runs.back();
  EXPECT_EQ(last.name, "30l_baseline_e10_lr2e-04_r16_s2");
  EXPECT_EQ(last.config.train.epochs, 10);
  EXPECT_EQ(last.config.optim.learning_rate, 2e-4);
  EXPECT_EQ(last.config.lora.rank, 16);
  EXPECT_EQ(last.config.train.seed, 2);
  EXPECT_TRUE(last.config.sweep.epochs.empty() && last.config.sweep.learning_rates.empty() && last.config.sweep.lora_ranks.empty());
}

TEST(SweepPlan, NamesOnlyTheAxesThatAreListed) {
  RunConfig base;
  base.sweep.lora_ranks = {4};
  const SweepPlan plan = plan_sweep(base, "out");
  ASSERT_EQ(plan.runs.size(), 1u);
  EXPECT_EQ(plan.runs[0].name, "12l_baseline_r4_s0");
}

TEST(SweepPlan, IsFoundAgainAndAnotherOneIsRefused) {
  const std::string out = (std::filesystem::temp_directory_path() / ("braid-sweep-" + std::to_string(getpid()))).string();
  SweepPlan plan = plan_sweep(recommended(), out);
  plan.runs[7].state = "failed";
  plan.runs[7].attempts = 2;
  save(plan);
  SweepPlan again = plan_sweep(recommended(), out);
  recover(again);
  EXPECT_EQ(again.runs[7].state, "failed");
  EXPECT_EQ(again.runs[8].state, "waiting");
  RunConfig other = recommended();
  other.sweep.learning_rates = {1e-5, 3e-5};
  SweepPlan another = plan_sweep(other, out);
  EXPECT_THROW(recover(another), UsageError);
  std::filesystem::remove_all(out);
}

std::string text_in(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// As one that an earlier version began, which did not know a key.
TEST(SweepPlan, GoesOnWhereItsFileLacksAKeyThatIsAtItsDefault) {
  const std::string out = ::testing::TempDir() + "older_sweep", key = R"(stream_precision = \"fp32\"\n)";
  std::filesystem::create_directories(out);
  SweepPlan plan = plan_sweep(recommended(), out);
  plan.runs[7].state = "failed";
  plan.runs[7].attempts = 2;
  save(plan);
  std::string text = text_in(out + "/sweep.json");
  ASSERT_NE(text.find(key), std::string::npos);
  for (size_t at = text.find(key); at != std::string::npos; at = text.find(key)) text.erase(at, key.size());
  std::ofstream(out + "/sweep.json") << text;
  SweepPlan again = plan_sweep(recommended(), out);
  recover(again);
  EXPECT_EQ(again.runs[7].state, "failed");
  RunConfig other = recommended();
  other.train.stream_precision = "bf16";
  SweepPlan another = plan_sweep(other, out);
  EXPECT_THROW(recover(another), UsageError);
  std::filesystem::remove_all(out);
}

TEST(SweepConfig, RefusesWhatIsNotAboveZero) {
  for (const char* axis : {"epochs=[0]", "learning_rates=[1e-3, 0.0]", "lora_ranks=[-1]"}) {
    const ConfigDocument document = ConfigDocument::from_text(std::string("[sweep]\n") + axis + "\n", "a.toml");
    EXPECT_THROW(read_run_config(document), UsageError) << axis;
  }
}

TEST(SweepPlan, VariationsDifferInJustTheirKeys) {
  RunConfig base;
  base.sweep.seeds = {0, 1};
  base.sweep.variations = {"plain:", "faster: optim.learning_rate=0.5; train.steps=7"};
  const SweepPlan plan = plan_sweep(base, "out");
  ASSERT_EQ(plan.runs.size(), 4u);
  EXPECT_EQ(plan.runs[0].name, "12l_baseline_s0_plain");
  EXPECT_EQ(plan.runs[3].name, "12l_baseline_s1_faster");
  EXPECT_EQ(plan.runs[3].config.train.steps, 7);
  EXPECT_EQ(plan.runs[3].config.train.seed, 1);
  RunConfig same = plan.runs[3].config, plain = plan.runs[2].config;
  same.optim.learning_rate = plain.optim.learning_rate;
  same.train.steps = plain.train.steps;
  EXPECT_EQ(to_toml(same), to_toml(plain));
}

TEST(SweepPlan, VariationsThatCannotBeAreRefused) {
  for (const char* text : {"no colon", ": train.steps=7", "a/b: train.steps=7", "x: train.stepps=7", "x: train.steps=\"many\""}) {
    RunConfig base;
    base.sweep.variations = {text};
    EXPECT_THROW(plan_sweep(base, "out"), UsageError) << text;
  }
  RunConfig twice;
  twice.sweep.variations = {"a:", "a: train.steps=7"};
  EXPECT_THROW(plan_sweep(twice, "out"), UsageError);
}

}  // namespace
}  // namespace braid
