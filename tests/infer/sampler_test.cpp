// SPDX-License-Identifier: Apache-2.0
// Draws against their distribution, rows against their neighbours, log-probabilities against log_softmax. Penalties and
// filters against transformers: tests/parity/test_sampling.py.
#include "infer/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "../nn/support.h"
#include "../store/thrown.h"
#include "nn/precompiled.h"

namespace braid {
namespace {

at::Tensor random_logits(int64_t rows, int64_t vocabulary, uint64_t seed, double deviation = 1.5) {
  at::Generator generator = seeded_generator(seed);
  return at::empty({rows, vocabulary}, at::kFloat).normal_(0.0, deviation, generator);
}

std::vector<int64_t> first_slots(int64_t count) {
  std::vector<int64_t> slots(static_cast<size_t>(count));
  std::iota(slots.begin(), slots.end(), 0);
  return slots;
}

// Upper limit of a chi-square variable that it stays below with probability 1 - 1e-6 (Wilson and Hilferty 1931).
double chi_square_limit(double freedom) {
  const double c = 2 / (9 * freedom);
  return freedom * std::pow(1 - c + 4.753 * std::sqrt(c), 3);
}

// 20,000 draws of one seed at steps 0, 1, …, from the probabilities that softmax gives the tokens of `kept`.
void expect_distribution(const SamplingOptions& options, const at::Tensor& logits, const at::Tensor& kept) {
  constexpr int64_t draws = 20000;
  const int64_t vocabulary = logits.size(0);
  Sampler sampler(1, vocabulary, at::kCPU);
  sampler.begin(0, options, {});
  std::vector<double> counts(static_cast<size_t>(vocabulary));
  const std::vector<int64_t> slot = {0};
  for (int64_t n = 0; n < draws; ++n) ++counts[sampler.sample(logits.unsqueeze(0), slot).rows[0].id];
  const at::Tensor scaled = (logits.to(at::kDouble) / options.temperature).masked_fill(kept.logical_not(), -INFINITY);
  const at::Tensor expected = at::softmax(scaled, -1) * draws;
  double chi_square = 0, freedom = -1;
  for (int64_t i = 0; i < vocabulary; ++i) {
    const double wanted = expected[i].item<double>();
    if (wanted == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i << " was filtered";
      continue;
    }
    chi_square += (counts[i] - wanted) * (counts[i] - wanted) / wanted;
    ++freedom;
  }
  EXPECT_LT(chi_square, chi_square_limit(freedom));
}

SamplingOptions drawing(double temperature, uint64_t seed) {
  SamplingOptions options;
  options.temperature = temperature;
  options.seed = seed;
  return options;
}

TEST(Sampler, DrawsFromTheDistribution) {
  const at::Tensor logits = random_logits(1, 24, 1)[0], all = at::ones({24}, at::kBool);
  expect_distribution(drawing(1, 7), logits, all);
  expect_distribution(drawing(0.6, 8), logits, all);
  expect_distribution(drawing(2.5, 9), logits, all);
}

TEST(Sampler, DrawsFromTheDistributionOfWhatAFilterKeeps) {
  const at::Tensor logits = random_logits(1, 24, 2)[0];
  const at::Tensor order = logits.argsort(-1, true);
  const auto likeliest = [&](int64_t count) {
    return at::zeros({24}, at::kBool).index_fill(0, order.slice(0, 0, count), true);
  };
  SamplingOptions options = drawing(1, 10);
  options.top_k = 6;
  expect_distribution(options, logits, likeliest(6));
  const at::Tensor sums = at::softmax(logits, -1).index_select(0, order).cumsum(0);
  options = drawing(1, 11);
  options.top_p = 0.8;
  expect_distribution(options, logits, likeliest((sums < 0.8).sum().item<int64_t>() + 1));
  options = drawing(1, 12);
  options.min_p = 0.1;
  expect_distribution(options, logits, logits >= logits.max() + std::log(0.1));
}

TEST(Sampler, DrawsOfOneSeedAreUnrelatedToThoseOfTheNext) {
  const at::Tensor logits = at::zeros({1, 4}, at::kFloat);
  std::vector<double> pairs(16);
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    Sampler sampler(2, 4, at::kCPU);
    sampler.begin(0, drawing(1, seed), {});
    sampler.begin(1, drawing(1, seed + 1), {});
    const auto rows = sampler.sample(logits.expand({2, 4}), first_slots(2)).rows;
    ++pairs[rows[0].id * 4 + rows[1].id];
  }
  double chi_square = 0;
  for (const double count : pairs) chi_square += (count - 250) * (count - 250) / 250;
  EXPECT_LT(chi_square, chi_square_limit(15));
}

std::vector<SamplingOptions> many_options() {
  std::vector<SamplingOptions> all;
  for (int i = 0; i < 12; ++i) {
    SamplingOptions options = drawing(i % 4 == 0 ? 0 : 0.5 + 0.2 * i, 100 + i / 2);
    options.answer = i % 2;
    options.top_k = i % 3 == 0 ? 9 : 0;
    options.top_p = i % 2 == 0 ? 0.7 : 1;
    options.min_p = i % 5 == 0 ? 0.05 : 0;
    options.repetition_penalty = i % 3 == 1 ? 1.3 : 1;
    options.presence_penalty = i % 4 == 1 ? 0.5 : 0;
    options.frequency_penalty = i % 4 == 2 ? 0.4 : 0;
    options.logprobs = i % 3 - 1;
    if (i % 6 == 5) options.barred = {3, 5}, options.barred_for = 4;
    all.push_back(options);
  }
  return all;
}

TEST(Sampler, ARequestGetsTheSameTokensAloneAndBesideOthers) {
  const std::vector<SamplingOptions> all = many_options();
  const auto count = static_cast<int64_t>(all.size());
  const std::vector<int64_t> prompt = {1, 2, 3, 4, 30};
  Sampler together(count + 1, 50, at::kCPU);
  std::vector<Sampler> alone;
  for (int64_t i = 0; i < count; ++i) {
    together.begin(i + 1, all[i], prompt);
    alone.emplace_back(1, 50, at::kCPU).begin(0, all[i], prompt);
  }
  std::vector<int64_t> slots(all.size()), own = {0};
  std::iota(slots.rbegin(), slots.rend(), 1);  // the last slot first
  for (uint64_t step = 0; step < 40; ++step) {
    const at::Tensor logits = random_logits(count, 50, step);
    const SampledTokens found = together.sample(logits, slots);
    for (int64_t r = 0; r < count; ++r) {
      const SampledToken expected = alone[slots[r] - 1].sample(logits.slice(0, r, r + 1), own).rows[0];
      EXPECT_EQ(found.rows[r].id, expected.id);
      EXPECT_EQ(found.rows[r].logprob, expected.logprob);
      EXPECT_EQ(found.ids[r].item<int64_t>(), expected.id);
    }
  }
}

TEST(Sampler, ASlotForgetsTheRequestBefore) {
  SamplingOptions options = drawing(0.9, 4);
  options.repetition_penalty = 1.5;
  options.frequency_penalty = 0.5;
  Sampler used(1, 20, at::kCPU), fresh(1, 20, at::kCPU);
  const std::vector<int64_t> slot = {0}, before = {7, 8}, prompt = {1};
  used.begin(0, options, before);
  for (uint64_t step = 0; step < 5; ++step) used.sample(random_logits(1, 20, step), slot);
  used.begin(0, options, prompt);
  fresh.begin(0, options, prompt);
  for (uint64_t step = 0; step < 20; ++step) {
    const at::Tensor logits = random_logits(1, 20, step);
    EXPECT_EQ(used.sample(logits, slot).rows[0].id, fresh.sample(logits, slot).rows[0].id);
  }
}

TEST(Sampler, AnswersToOnePromptDiffer) {
  Sampler sampler(2, 50, at::kCPU);
  SamplingOptions options = drawing(1, 3);
  sampler.begin(0, options, {});
  options.answer = 1;
  sampler.begin(1, options, {});
  int64_t different = 0;
  const std::vector<int64_t> slots = {0, 1};
  for (uint64_t step = 0; step < 20; ++step) {
    const auto rows = sampler.sample(random_logits(1, 50, step).expand({2, 50}), slots).rows;
    different += rows[0].id != rows[1].id;
  }
  EXPECT_GT(different, 10);
}

TEST(Sampler, TemperatureZeroTakesTheFirstOfTheLikeliest) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const at::Tensor logits = at::tensor({1.0, 3.0, 3.0, -2.0}).to(type).unsqueeze(0).expand({2, 4});
    Sampler sampler(2, 4, at::kCPU);
    sampler.begin(0, {}, {});
    SamplingOptions filtered;
    filtered.top_k = 1, filtered.top_p = 0.1, filtered.min_p = 0.9;
    sampler.begin(1, filtered, {});
    const auto rows = sampler.sample(logits, first_slots(2)).rows;
    EXPECT_EQ(rows[0].id, 1);
    EXPECT_EQ(rows[1].id, 1);
  }
}

TEST(Sampler, BarredTokensDoNotComeBeforeTheirStep) {
  SamplingOptions options;
  options.barred = {2, 0};
  options.barred_for = 3;
  Sampler sampler(1, 4, at::kCPU);
  sampler.begin(0, options, {});
  const at::Tensor logits = at::tensor({3.0f, 1.0f, 9.0f, 2.0f}).unsqueeze(0);
  std::vector<int64_t> ids;
  const std::vector<int64_t> slot = {0};
  for (int step = 0; step < 5; ++step) ids.push_back(sampler.sample(logits, slot).rows[0].id);
  EXPECT_EQ(ids, (std::vector<int64_t>{3, 3, 3, 2, 2}));
}

TEST(Sampler, LogprobsAreOfTheModelsDistribution) {
  at::Tensor logits = random_logits(3, 30, 6);
  logits[0].copy_(logits[0].round());  // some are equal
  const at::Tensor expected = at::log_softmax(logits.to(at::kDouble), -1);
  Sampler sampler(3, 30, at::kCPU);
  for (int64_t i = 0; i < 3; ++i) {
    SamplingOptions options = drawing(0.5 + 0.5 * double(i), 3);
    options.repetition_penalty = 1.5;
    options.top_k = 7;
    options.logprobs = i == 2 ? -1 : 5 * i + 5;
    const std::vector<int64_t> prompt = {1, 2, 3};
    sampler.begin(i, options, prompt);
  }
  const auto rows = sampler.sample(logits, first_slots(3)).rows;
  for (int64_t r = 0; r < 2; ++r) {
    EXPECT_NEAR(rows[r].logprob, expected[r][rows[r].id].item<double>(), 1e-5);
    const at::Tensor order = at::argsort(expected[r], /*stable=*/true, 0, /*descending=*/true);
    ASSERT_EQ(rows[r].top.size(), size_t(5 * r + 5));
    for (size_t n = 0; n < rows[r].top.size(); ++n) {
      EXPECT_EQ(rows[r].top[n].id, order[int64_t(n)].item<int64_t>());
      EXPECT_NEAR(rows[r].top[n].logprob, expected[r][rows[r].top[n].id].item<double>(), 1e-5);
    }
  }
  EXPECT_TRUE(rows[2].top.empty());
}

TEST(Sampler, ARowThatIsNoNumberHarmsNoOther) {
  at::Tensor logits = random_logits(3, 10, 1);
  logits[1][4] = std::numeric_limits<float>::quiet_NaN();
  Sampler sampler(3, 10, at::kCPU);
  SamplingOptions options = drawing(1, 1);
  options.frequency_penalty = 1;
  options.logprobs = 2;
  for (int64_t i = 0; i < 3; ++i) sampler.begin(i, options, {});
  const auto rows = sampler.sample(logits, first_slots(3)).rows;
  EXPECT_GE(rows[0].id, 0);
  EXPECT_EQ(rows[1].id, -1);
  EXPECT_GE(rows[2].id, 0);
}

std::string refusal(void (*change)(SamplingOptions&)) {
  SamplingOptions options;
  change(options);
  return thrown_message([&] { check_sampling(options); });
}

TEST(SamplingOptions, RefusesWhatCannotBe) {
  EXPECT_EQ(refusal([](SamplingOptions& o) { o.temperature = -1; }), "temperature: expected a number from 0, found -1");
  EXPECT_EQ(refusal([](SamplingOptions& o) { o.temperature = NAN; }),
            "temperature: expected a number from 0, found nan");
  EXPECT_EQ(refusal([](SamplingOptions& o) { o.temperature = INFINITY; }),
            "temperature: expected a number from 0, found inf");
  EXPECT_EQ(refusal([](SamplingOptions& o) { o.top_k = -2; }), "top_k: expected a whole number from 0, found -2");
  EXPECT_EQ(refusal([](SamplingOptions& o) { o.top_p = 1.5; }), "top_p: expected a number from 0 to 1, found 1.5");
  EXPECT_EQ(refusal([](SamplingOptions& o) { o.min_p = -0.5; }), "min_p: expected a number from 0 to 1, found -0.5");
  EXPECT_EQ(refusal([](SamplingOptions& o) { o.repetition_penalty = 0; }),
            "repetition_penalty: expected a number above 0, found 0");
  EXPECT_EQ(refusal([](SamplingOptions& o) { o.presence_penalty = 3; }),
            "presence_penalty: expected a number from -2 to 2, found 3");
  EXPECT_EQ(refusal([](SamplingOptions& o) { o.logprobs = 21; }),
            "logprobs: expected a whole number from 0 to 20, found 21");
  SamplingOptions two;
  two.top_p = 2, two.min_p = 2;
  EXPECT_EQ(sampling_problems(two).size(), 2u);
}

TEST(SamplingDefaults, AreThoseOfTransformers) {
  const auto of = [](const char* text) { return sampling_defaults(text, "x.json"); };
  EXPECT_EQ(of("").options.temperature, 0);
  EXPECT_EQ(of(R"({"temperature": 0.6, "top_p": 0.9})").options.temperature, 0);
  EXPECT_EQ(of(R"({"temperature": 0.6, "top_p": 0.9})").options.top_p, 0.9);
  const SamplingOptions sampled = of(R"({"do_sample": true, "min_p": 0.1, "repetition_penalty": 1.1})").options;
  EXPECT_EQ(sampled.temperature, 1);
  EXPECT_EQ(sampled.top_k, 50);
  EXPECT_EQ(sampled.min_p, 0.1);
  EXPECT_EQ(sampled.repetition_penalty, 1.1);
  EXPECT_EQ(of(R"({"do_sample": true, "top_k": 0, "temperature": 0.7})").options.top_k, 0);
  EXPECT_EQ(of(R"({"num_beams": 4, "typical_p": 1.0, "max_length": 9})").left_out,
            std::vector<std::string>{"num_beams"});
  EXPECT_EQ(thrown_message([&] { of(R"({"top_p": 1.2})"); }),
            "x.json: top_p: expected a number from 0 to 1, found 1.2");
  EXPECT_TRUE(
      contains(thrown_message([&] { of(R"({"do_sample": 1})"); }), "x.json: do_sample: expected true or false"));
}

}  // namespace
}  // namespace braid
