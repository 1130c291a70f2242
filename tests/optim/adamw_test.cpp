// SPDX-License-Identifier: Apache-2.0
#include "optim/adamw.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nn/precompiled.h"
#include "optim/schedule.h"

namespace braid {
namespace {

// AdamW written out for one element (Loshchilov and Hutter, algorithm 2, with a decoupled decay of lr * wd); MLX's has the
// same formula without the two divisors.
struct Reference {
  double w, m = 0, v = 0;
  int t = 0;
  void step(double g, double lr, const OptimConfig& c, double wd) {
    ++t;
    w -= lr * wd * w;
    m = c.beta1 * m + (1 - c.beta1) * g;
    v = c.beta2 * v + (1 - c.beta2) * g * g;
    const double first = c.bias_correction ? 1 - std::pow(c.beta1, t) : 1;
    const double second = c.bias_correction ? 1 - std::pow(c.beta2, t) : 1;
    w -= lr * (m / first) / (std::sqrt(v / second) + c.epsilon);
  }
};

class Adam : public testing::Test {
 protected:
  Adam() {
    set_.add("matrix", {3, 5}, 0);
    set_.add("vector", {4}, 1);
    set_.allocate(Precision::fp64, at::kCPU);
    for (Parameter& p : set_.all()) p.master.copy_(at::linspace(-1, 1, p.elements(), at::kDouble).view(p.shape));
  }
  ParameterSet set_;
};

class AdamBySteps : public Adam, public testing::WithParamInterface<bool> {};

TEST_P(AdamBySteps, FollowsTheFormulaWithDecayByGroupAndClipping) {
  OptimConfig config;
  config.bias_correction = GetParam();
  config.weight_decay = 0.3;
  config.decay = "matrices";
  AdamW adam(set_, config);
  Reference matrix{-1}, vector{-1};
  for (int step = 0; step < 5; ++step) {
    const double g = 0.7 - 0.3 * step, lr = 0.01 * (step + 1), divisor = step == 2 ? 4.0 : 1.0;
    for (Parameter& p : set_.all()) p.gradient.fill_(g);
    adam.step(lr, divisor);
    matrix.step(g / divisor, lr, config, 0.3);
    vector.step(g / divisor, lr, config, 0.0);
    EXPECT_NEAR(set_.named("matrix").master[0][0].item<double>(), matrix.w, 1e-7);
    EXPECT_NEAR(set_.named("vector").master[0].item<double>(), vector.w, 1e-7);
  }
}

INSTANTIATE_TEST_SUITE_P(BiasCorrection, AdamBySteps, testing::Bool());

TEST_F(Adam, PaddingBetweenTensorsStaysZero) {
  AdamW adam(set_, {});
  for (Parameter& p : set_.all()) p.gradient.fill_(1.0);
  adam.step(0.1);
  EXPECT_EQ(set_.master().numel(), 512);  // two tensors, each at a multiple of 256
  EXPECT_EQ(set_.master().count_nonzero().item<int64_t>(), 19);
  EXPECT_NEAR(gradient_squares(whole_ranges(set_), [](const Parameter&) { return true; }).item<double>(), 19.0, 1e-12);
}

TEST(ClipDivisor, ScalesDownToTheLimitOnly) {
  EXPECT_EQ(clip_divisor(3.0, 0.0), 1.0);
  EXPECT_EQ(clip_divisor(0.5, 1.0), 1.0);
  EXPECT_EQ(clip_divisor(3.0, 1.5), 2.0);
  EXPECT_EQ(clip_divisor(NAN, 1.0), 1.0);
}

TEST(Schedule, WarmsUpThenDecaysToItsShare) {
  OptimConfig c;
  c.learning_rate = 2.0;
  EXPECT_EQ(learning_rate_at(c, 7, 10), 2.0);
  c.warmup_steps = 4;
  EXPECT_EQ(learning_rate_at(c, 0, 10), 0.5);
  EXPECT_EQ(learning_rate_at(c, 3, 10), 2.0);
  c.final_fraction = 0.25;
  for (const char* schedule : {"linear", "cosine"}) {
    c.schedule = schedule;
    EXPECT_NEAR(learning_rate_at(c, 4, 10), 2.0, 1e-12) << schedule;
    EXPECT_NEAR(learning_rate_at(c, 9, 10), 0.5, 1e-12) << schedule;
    EXPECT_GT(learning_rate_at(c, 5, 10), learning_rate_at(c, 8, 10)) << schedule;
  }
  OptimConfig cosine;
  cosine.learning_rate = 1.0;
  cosine.schedule = "cosine";
  EXPECT_NEAR(learning_rate_at(cosine, 5, 11), 0.5, 1e-12);  // half way
}

}  // namespace
}  // namespace braid
