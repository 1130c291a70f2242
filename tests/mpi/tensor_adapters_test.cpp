// SPDX-License-Identifier: Apache-2.0
// Adapters on a model that lies on several ranks get the values and the gradients of those on a whole one, in double.
#include "parallel/tensor_adapters.h"

#include <gtest/gtest.h>

#include "cut_model.h"

namespace braid {
namespace {

using test::world;

LoraConfig lora_config() {
  LoraConfig lora;
  lora.rank = 3;
  lora.targets.push_back("lm_head");
  return lora;
}

void randomise(ParameterSet& set) {
  at::Generator generator = seeded_generator(9);
  for (Parameter& p : set.all()) take_values(p, at::empty(p.shape, at::kDouble).normal_(0.0, 0.3, generator));
}

// Gradients of a batch in two pieces.
void backward(Transformer& model, ParameterSet& trained, const test::Sample& sample) {
  LossTotals totals = make_loss_totals(model.device());
  model.residual().begin_step();
  trained.zero_gradients();
  for (const at::Tensor& index : at::arange(sample.tokens.size(0)).chunk(2)) {
    trained.start_backward();
    model.loss(sample.tokens.index_select(0, index), sample.targets.index_select(0, index), 1.0, totals).backward();
  }
  model.end_backward();
}

class CutAdapters : public testing::Test {
 protected:
  CutAdapters()
      : config(test::even_model("llama")),
        whole(config, Precision::fp64, at::kCPU),
        parts(test::cut_model(config)),
        whole_adapters(whole, lora_config(), 4),
        adapters(*parts, lora_config(), 4),
        tensor(adapters, *parts, config, 4, world().host()) {
    test::randomise(whole, 5, 0.3);
    test::randomise(*parts, 5, 0.3);
  }
  void expect_parts(const std::function<at::Tensor(const Parameter&)>& values, double tolerance) {
    for (const Parameter& p : adapters.parameters().all()) {
      const Parameter& expected = whole_adapters.parameters().named(p.name);
      EXPECT_EQ(p.shape, expected.shape) << p.name;
      EXPECT_LE((values(p) - test::part_of(values(expected), p)).abs().max().item<double>(), tolerance) << p.name;
    }
  }
  ModelConfig config;
  Transformer whole;
  std::unique_ptr<Transformer> parts;
  LoraModel whole_adapters, adapters;
  TensorAdapters tensor;
};

TEST_F(CutAdapters, BeginWithTheValuesOfTheWhole) {
  expect_parts([](const Parameter& p) { return p.master; }, 0.0);
}

TEST_F(CutAdapters, GetTheGradientsOfTheWhole) {
  const test::Sample sample = test::random_sample(config, 3, 6);
  randomise(whole_adapters.parameters());
  randomise(adapters.parameters());
  backward(whole, whole_adapters.parameters(), sample);
  backward(*parts, adapters.parameters(), sample);
  tensor.sum_gradients(whole_ranges(adapters.parameters()));
  expect_parts([](const Parameter& p) { return p.gradient; }, 1e-11);
}

}  // namespace
}  // namespace braid
