// SPDX-License-Identifier: Apache-2.0
// A model that lies on several ranks computes what it does on one: first values, losses and gradients, in double.
#include "parallel/tensor_parallel.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "comm/recording_communicator.h"
#include "cut_model.h"
#include "nn/recompute.h"
#include "parallel/tensor_exchange.h"

namespace braid {
namespace {

using test::world;

struct Variant {
  const char *dialect, *residual = "residual", *form = "poc";
  bool tied = false, recompute = false;
};

void PrintTo(const Variant& v, std::ostream* out) {
  *out << v.dialect << " " << v.residual << " " << v.form << (v.tied ? " tied" : "") << (v.recompute ? " recomputed" : "");
}

ModelConfig model_of(const Variant& v) {
  ModelConfig config = test::even_model(v.dialect, v.residual);
  config.connection_form = v.form;
  config.tie_embeddings = v.tied;
  return config;
}

void start(Transformer& model) {
  at::Generator generator = seeded_generator(3);
  model.config().is_llama() ? initialise_llama(model, 3) : initialise_poc(model, generator);
}

class TensorParts : public testing::TestWithParam<Variant> {
 protected:
  TensorParts() : config(model_of(GetParam())), whole(config, Precision::fp64, at::kCPU), parts(test::cut_model(config)) {
    for (Transformer* model : {&whole, parts.get()}) {
      if (GetParam().recompute) model->wrap_blocks(recompute_blocks());
    }
  }
  ModelConfig config;
  Transformer whole;
  std::unique_ptr<Transformer> parts;
};

TEST_P(TensorParts, BeginWithTheValuesOfTheWhole) {
  start(whole);
  start(*parts);
  for (const Parameter& p : parts->parameters().all()) {
    const Parameter& expected = whole.parameters().named(p.name);
    EXPECT_EQ(p.shape, expected.shape) << p.name;
    EXPECT_TRUE(at::equal(p.master, test::part_of(expected.master, p))) << p.name;
  }
}

TEST_P(TensorParts, GiveTheLossAndTheGradientsOfTheWhole) {
  const test::Sample sample = test::random_sample(config, 3, 6);
  for (Transformer* model : {&whole, parts.get()}) {
    test::randomise(*model, 5, 0.3);
    test::backward(*model, sample, 2);
  }
  EXPECT_NEAR(test::loss_of(*parts, sample), test::loss_of(whole, sample), 1e-11);
  for (const Parameter& p : parts->parameters().all()) {
    const at::Tensor expected = test::part_of(whole.parameters().named(p.name).gradient, p);
    EXPECT_LT((p.gradient - expected).abs().max().item<double>(), 1e-11) << p.name;
  }
}

// Together the ranks have every element once, but for what each has whole.
TEST_P(TensorParts, CoverTheWhole) {
  for (const Parameter& p : parts->parameters().all()) {
    int64_t elements = p.elements();
    world().host().all_reduce({&elements, 1, Dtype::int64}, ReduceOp::sum).wait();
    const int64_t all = whole.parameters().named(p.name).elements();
    EXPECT_EQ(elements, p.is_whole() ? all * world().size() : all) << p.name;
    if (world().size() > 1 && p.shape.size() == 2) EXPECT_EQ(p.is_whole(), p.name == "positions") << p.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, TensorParts,
                         testing::Values(Variant{"poc"}, Variant{"llama"}, Variant{"poc", "mhc"},
                                         Variant{"llama", "mhc", "paper", true, true}, Variant{"poc", "hc", "paper"},
                                         Variant{"llama", "residual", "poc", true, true}));

// Elements of all calls of one step, by operation and type.
std::map<std::string, size_t> elements_of_step(const ModelConfig& config, const test::Sample& sample, bool recompute) {
  const auto recorder = std::make_shared<CollectiveRecorder>();
  const auto comm = make_recording_communicator(world().host().split(0, world().rank()), recorder, "tensor");
  Transformer model(tensor_share(config, comm->rank(), comm->size()), Precision::fp32, at::kCPU);
  join_tensor_parts(model, config, *comm);
  if (recompute) model.wrap_blocks(recompute_blocks());
  start(model);
  test::backward(model, sample);
  std::map<std::string, size_t> elements;
  for (const CollectiveRecord& call : recorder->snapshot().entries) {
    elements[call.operation + " " + name_of(call.dtype)] += call.count;
  }
  return elements;
}

// What goes between ranks does not grow with the vocabulary: B T D for the embedding, four times for each block, once for the
// head's input; of each row of logits the largest, and three sums in double.
TEST(TensorTraffic, IsOfOutputsOfSublayersAndAFewNumbersForEachRowOfLogits) {
  if (world().size() == 1) GTEST_SKIP() << "one rank exchanges nothing";
  for (const int64_t vocabulary : {11, 400}) {
    ModelConfig config = model_of({"llama"});
    config.vocabulary = vocabulary;
    const test::Sample sample = test::random_sample(config, 3, 6);
    const size_t rows = 3 * size_t(config.context), output = rows * size_t(config.width), blocks = size_t(config.layers);
    for (const bool recompute : {false, true}) {
      auto elements = elements_of_step(config, sample, recompute);
      EXPECT_EQ(elements["all_reduce float32"], (2 + (recompute ? 6 : 4) * blocks) * output + rows);
      EXPECT_EQ(elements["all_reduce float64"], 3 * rows + 1);
      EXPECT_EQ(elements.size(), 2u);
    }
  }
}

TEST(TensorExchange, IsTheIdentityOneWayAndASumTheOther) {
  const double rank = world().rank() + 1, all = world().size() * (world().size() + 1) / 2.0;
  const at::Tensor x = at::full({2, 3}, 7.0, at::kDouble).requires_grad_(true);
  const at::Tensor entered = sum_backward(x, world().host());
  EXPECT_TRUE(at::equal(entered, x));
  const at::Tensor left = sum_forward(entered * rank, world().host());
  EXPECT_TRUE(at::allclose(left, at::full({2, 3}, 7.0 * all, at::kDouble)));
  const at::Tensor asked = at::arange(6, at::kDouble).view({2, 3});
  left.backward(asked);
  EXPECT_TRUE(at::allclose(x.grad(), asked * all));
  EXPECT_TRUE(at::equal(asked, at::arange(6, at::kDouble).view({2, 3})));  // is not written to
}

TEST(TensorCut, OfWhatDoesNotDivideIsRefused) {
  const auto refused = [](auto change) {
    ModelConfig config = model_of({"llama"});
    change(config);
    EXPECT_THROW(check_tensor_cut(config, 4), UsageError);
  };
  EXPECT_NO_THROW(check_tensor_cut(model_of({"llama"}), 4));
  refused([](ModelConfig& config) { config.heads = 6, config.kv_heads = 6; });
  refused([](ModelConfig& config) { config.kv_heads = 2; });
  refused([](ModelConfig& config) { config.mlp_width = 26; });
  refused([](ModelConfig& config) { config.vocabulary = 3; });
}

}  // namespace
}  // namespace braid
