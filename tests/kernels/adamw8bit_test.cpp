// SPDX-License-Identifier: Apache-2.0
// A step of 8-bit AdamW against the formula in double, at every instruction set and in the CUDA twin.
#include "kernels/adamw8bit.h"

#include <algorithm>

#include "kernels/dynamic_map.h"
#include "support.h"

namespace braid::kernels {
namespace {

using namespace test;

struct State {
  std::vector<float> weights, gradient;
  std::vector<uint8_t> first, second;
  std::vector<float> first_absmax, second_absmax;
};

State random_state(int64_t count) {
  Random random;
  const size_t blocks = size_t((count + moment_block - 1) / moment_block);
  State s{as<float>(random.normal(count)), as<float>(random.normal(count, 0.1)), {}, {}, {}, {}};
  for (int64_t i = 0; i < count; ++i) {
    s.first.push_back(uint8_t(random.below(256)));
    s.second.push_back(uint8_t(random.below(256)));
  }
  for (size_t b = 0; b < blocks; ++b) {
    s.first_absmax.push_back(0.05f + 0.01f * float(random.below(10)));
    s.second_absmax.push_back(0.001f + 0.0003f * float(random.below(10)));
  }
  return s;
}

State stepped(Place place, const State& s, const AdamWNumbers& numbers) {
  Placed weights(place, s.weights), gradient(place, s.gradient), m(place, s.first_absmax), v(place, s.second_absmax);
  Placed first(place, s.first), second(place, s.second);
  adamw8bit({place}, numbers, int64_t(s.weights.size()), weights.data(), gradient.data(),
            {first.data(), second.data(), m.data(), v.data()});
  return {weights.values(), s.gradient, first.values(), second.values(), m.values(), v.values()};
}

AdamWNumbers some_numbers() { return {0.01, 0.9, 0.99, 1e-8, 0.1, 2.0, 7}; }

// Half the distance to the farther neighbour of a code, relative to the block's largest.
double rounding(const DynamicMap& map, int code) {
  const double below = code > 0 ? map.value[size_t(code)] - map.value[size_t(code - 1)] : 0;
  const double above = code < 255 ? map.value[size_t(code + 1)] - map.value[size_t(code)] : 0;
  return 0.5 * std::max(below, above);
}

void expect_formula(Place place, int64_t count) {
  const AdamWNumbers n = some_numbers();
  const State before = random_state(count), after = stepped(place, before, n);
  const auto &map1 = signed_dynamic_map(), &map2 = unsigned_dynamic_map();
  Numbers m, v, w, bound, noise;  // noise: of m in float32, whose two terms may nearly cancel
  for (size_t i = 0; i < size_t(count); ++i) {
    const size_t b = i / moment_block;
    const double g = before.gradient[i] / n.divisor;
    m.push_back(n.beta1 * map1.value[before.first[i]] * before.first_absmax[b] + (1 - n.beta1) * g);
    v.push_back(n.beta2 * map2.value[before.second[i]] * before.second_absmax[b] + (1 - n.beta2) * g * g);
    const double kept = n.beta1 * map1.value[before.first[i]] * before.first_absmax[b];
    noise.push_back(0x1p-22 * (std::abs(kept) + (1 - n.beta1) * std::abs(g)));
    const double rate = n.learning_rate / (1 - std::pow(n.beta1, n.step)) /
                        (std::sqrt(v[i] / (1 - std::pow(n.beta2, n.step))) + n.epsilon);
    w.push_back(before.weights[i] * (1 - n.learning_rate * n.weight_decay) - rate * m[i]);
    bound.push_back(2e-6 * (std::abs(w[i]) + std::abs(rate * m[i])) + rate * noise[i]);
  }
  expect_near(after.weights, w, bound, "weight");
  for (size_t first = 0; first < m.size(); first += moment_block) {
    const size_t end = std::min(m.size(), first + moment_block), b = first / moment_block;
    double most = 0, second_most = 0, loudest = 0;
    for (size_t i = first; i < end; ++i) {
      most = std::max(most, std::abs(m[i]));
      second_most = std::max(second_most, v[i]);
      loudest = std::max(loudest, noise[i]);
    }
    EXPECT_NEAR(after.first_absmax[b], most, loudest);
    EXPECT_NEAR(after.second_absmax[b], second_most, 1e-6 * second_most);
    for (size_t i = first; i < end; ++i) {
      const int code = after.first[i];
      // A small negative moment may be one further away, so that it stays negative.
      const double slack = m[i] < 0 && map1.value[size_t(code + 1)] == 0 ? 2 : 1;
      ASSERT_LE(std::abs(map1.value[size_t(code)] - m[i] / most), slack * rounding(map1, code) + 2 * loudest / most) << i;
      ASSERT_FALSE(m[i] < -noise[i] && map1.value[size_t(code)] >= 0) << i;
      ASSERT_LE(std::abs(map2.value[after.second[i]] - v[i] / second_most), rounding(map2, after.second[i]) + 1e-6) << i;
    }
  }
}

void expect_formula(Place place) {
  for (const int64_t count : {1, 255, 256, 257, 5000, 256 * 40}) expect_formula(place, count);
}
TEST(AdamW8bit, FollowsTheFormulaAtEveryInstructionSet) {
  at_every_level([] { expect_formula(Place::cpu); });
}
TEST(AdamW8bitGpu, FollowsTheFormula) {
  REQUIRE_DEVICE();
  expect_formula(Place::cuda);
}

// Nothing has a gradient yet: zeros must stay zeros, and weights be left to decay.
void expect_zeros_stay(Place place) {
  State s = random_state(600);
  for (auto* numbers : {&s.gradient, &s.first_absmax, &s.second_absmax}) std::fill(numbers->begin(), numbers->end(), 0.0f);
  const State after = stepped(place, s, some_numbers());
  for (size_t i = 0; i < s.weights.size(); ++i) EXPECT_EQ(after.weights[i], s.weights[i] * 0.999f);
  for (const float absmax : after.first_absmax) EXPECT_EQ(absmax, 0.0f);
  for (const uint8_t code : after.first) EXPECT_EQ(signed_dynamic_map().value[code], 0.0f);
  for (const uint8_t code : after.second) EXPECT_EQ(unsigned_dynamic_map().value[code], 0.0f);
}
TEST(AdamW8bit, MomentsOfZeroStayZero) {
  at_every_level([] { expect_zeros_stay(Place::cpu); });
}
TEST(AdamW8bitGpu, MomentsOfZeroStayZero) {
  REQUIRE_DEVICE();
  expect_zeros_stay(Place::cuda);
}

TEST(AdamW8bit, IsTheSameOnAnyNumberOfThreads) {
  const State s = random_state(256 * 37 + 5);
  const State one = stepped(Place::cpu, s, some_numbers());
  with_threads(3, [&] {
    const State three = stepped(Place::cpu, s, some_numbers());
    EXPECT_EQ(three.weights, one.weights);
    EXPECT_EQ(three.first, one.first);
    EXPECT_EQ(three.second_absmax, one.second_absmax);
  });
}

}  // namespace
}  // namespace braid::kernels
