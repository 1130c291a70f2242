// SPDX-License-Identifier: Apache-2.0
// 8-bit AdamW over a model's parameters beside the 32-bit one.
#include "optim/adamw8bit.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "nn/initialise.h"
#include "nn/precompiled.h"
#include "optim/adamw.h"

namespace braid {
namespace {

at::Tensor normal(at::IntArrayRef shape, uint64_t seed, double deviation = 1.0) {
  return at::empty(shape, at::kFloat).normal_(0.0, deviation, seeded_generator(seed));
}

// Two matrices whose moments are rounded and two small tensors.
struct Weights {
  Weights() {
    set.add("in", {64, 100}, 0);
    set.add("norm", {64}, 1);
    set.add("out", {5, 1000}, 0);
    set.add("bias", {5}, 1);
    set.allocate(Precision::fp32, at::kCPU);
    uint64_t seed = 1;
    for (Parameter& p : set.all()) p.master.copy_(normal(p.shape, seed++));
  }
  void set_gradients(uint64_t seed) {
    for (Parameter& p : set.all()) p.gradient.copy_(normal(p.shape, seed++, 0.1));
  }
  ParameterSet set;
};

OptimConfig with_decay() {
  OptimConfig config;
  config.weight_decay = 0.1;
  config.decay = "matrices";
  return config;
}

TEST(AdamW8bit, FirstStepIsThatOf32Bits) {
  for (const bool corrected : {true, false}) {
    Weights ours, theirs;
    OptimConfig config = with_decay();
    config.bias_correction = corrected;
    AdamW8bit rounded(ours.set, config);
    AdamW wide(theirs.set, config);
    for (Weights* weights : {&ours, &theirs}) weights->set_gradients(10);
    rounded.step(0.01, 2.0);
    wide.step(0.01, 2.0);
    EXPECT_LT((ours.set.master() - theirs.set.master()).abs().max().item<float>(), 1e-6);
  }
}

TEST(AdamW8bit, SmallTensorsKeep32Bits) {
  Weights ours, theirs;
  AdamW8bit rounded(ours.set, with_decay());
  AdamW wide(theirs.set, with_decay());
  for (uint64_t step = 0; step < 5; ++step) {
    for (Weights* weights : {&ours, &theirs}) weights->set_gradients(20 * step);
    rounded.step(0.01);
    wide.step(0.01);
  }
  for (const char* name : {"norm", "bias"}) {
    EXPECT_TRUE(at::equal(ours.set.named(name).master, theirs.set.named(name).master)) << name;
  }
  const at::Tensor difference = ours.set.named("in").master - theirs.set.named("in").master;
  EXPECT_GT(difference.abs().max().item<float>(), 1e-6);  // the others do not
  EXPECT_LT(difference.abs().max().item<float>(), 0.02);
}

TEST(AdamW8bit, StateIsAQuarterOf32Bits) {
  Weights weights;
  weights.set.named("norm").trainable = weights.set.named("bias").trainable = false;
  const AdamW8bit rounded(weights.set, {});
  const int64_t padded = 6400 + 5120;
  EXPECT_EQ(rounded.state_bytes(), 2 * padded + 2 * 4 * padded / 256);
  EXPECT_EQ(rounded.place(), AdamW8bit::Place::host);
}

TEST(AdamW8bit, LeavesFrozenWeightsAlone) {
  Weights weights;
  weights.set.named("in").trainable = weights.set.named("bias").trainable = false;
  const at::Tensor before = weights.set.master().clone();
  AdamW8bit rounded(weights.set, with_decay());
  weights.set_gradients(3);
  rounded.step(0.01);
  for (const Parameter& p : weights.set.all()) {
    const bool same = at::equal(p.master, before.narrow(0, p.offset, p.elements()).view(p.shape));
    EXPECT_EQ(same, !p.trainable) << p.name;
  }
}

// Another optimiser that is given the state goes on with the same bits.
TEST(AdamW8bit, GoesOnFromItsState) {
  Weights first, second;
  AdamW8bit whole(first.set, with_decay()), resumed(second.set, with_decay());
  for (uint64_t step = 0; step < 3; ++step) {
    first.set_gradients(7 * step);
    whole.step(0.01);
  }
  second.set.master().copy_(first.set.master());
  const std::vector<OptimizerTensor> from = whole.state(), to = resumed.state();
  ASSERT_EQ(from.size(), to.size());
  for (size_t i = 0; i < to.size(); ++i) {
    EXPECT_EQ(from[i].kind, to[i].kind);
    at::Tensor values = to[i].values;
    values.copy_(from[i].values);
  }
  resumed.resume_at(3);
  for (Weights* weights : {&first, &second}) weights->set_gradients(99);
  whole.step(0.01);
  resumed.step(0.01);
  EXPECT_TRUE(at::equal(first.set.master(), second.set.master()));
}

TEST(AdamW8bit, StateHasATensorOfEachKindForEachParameter) {
  Weights weights;
  const AdamW8bit rounded(weights.set, {});
  std::map<std::string, at::Tensor> all;
  for (const OptimizerTensor& tensor : rounded.state()) all[tensor.kind + "/" + tensor.part.parameter->name] = tensor.values;
  EXPECT_EQ(all.size(), 12u);
  EXPECT_EQ(all.at("exp_avg/norm").numel(), 64);
  EXPECT_EQ(all.at("exp_avg_codes/in").scalar_type(), at::kByte);
  EXPECT_EQ(all.at("exp_avg_codes/in").numel(), 6400);
  EXPECT_EQ(all.at("exp_avg_sq_absmax/out").numel(), 20);
}

TEST(AdamW8bit, RefusesDoubles) {
  ParameterSet set;
  set.add("w", {64, 64});
  set.allocate(Precision::fp64, at::kCPU);
  EXPECT_THROW(AdamW8bit(set, {}), Error);
}

// A network with one hidden layer learns another's outputs.
double loss_after(int steps, const std::string& kind) {
  ParameterSet set;
  Parameter& in = set.add("in", {128, 40});
  Parameter& out = set.add("out", {60, 128});
  set.allocate(Precision::fp32, at::kCPU);
  in.master.copy_(normal(in.shape, 1, 0.15));
  out.master.copy_(normal(out.shape, 2, 0.1));
  const at::Tensor x = normal({512, 40}, 3), teacher_in = normal({128, 40}, 4, 0.15), teacher_out = normal({60, 128}, 5, 0.1);
  const at::Tensor target = x.mm(teacher_in.t()).tanh().mm(teacher_out.t());
  OptimConfig config;
  config.kind = kind;
  const auto optimizer = make_optimizer(whole_ranges(set), config);
  double loss = 0;
  for (int step = 0; step <= steps; ++step) {
    const at::Tensor a = in.master.detach().requires_grad_(), b = out.master.detach().requires_grad_();
    const at::Tensor error = (x.mm(a.t()).tanh().mm(b.t()) - target).square().mean();
    loss = error.item<double>();
    error.backward();
    in.gradient.copy_(a.grad());
    out.gradient.copy_(b.grad());
    optimizer->step(3e-3, 1.0);
  }
  return loss;
}

TEST(AdamW8bit, LossIsWithinAHundredthOf32BitsAfter200Steps) {
  const double start = loss_after(0, "adamw"), wide = loss_after(200, "adamw"), rounded = loss_after(200, "adamw8bit");
  EXPECT_LT(wide, 0.5 * start);  // it does learn
  EXPECT_NE(rounded, wide);
  EXPECT_NEAR(rounded, wide, 0.01 * wide);
}

}  // namespace
}  // namespace braid
