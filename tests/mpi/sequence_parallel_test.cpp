// SPDX-License-Identifier: Apache-2.0
// Ranks that hold one model, each with a share of the tokens between its cut layers, compute what one does: losses and gradients,
// in double; and keep what is planned.
#include "parallel/sequence_exchange.h"

#include <gtest/gtest.h>

#include "../train/measured_step.h"
#include "base/error.h"
#include "cut_model.h"
#include "nn/recompute.h"
#include "parallel/shared_gradients.h"
#include "train/memory.h"

namespace braid {
namespace {

using test::world;

// [2, 4 N, 3], on all ranks alike.
at::Tensor whole_tokens() { return at::arange(2 * 4 * world().size() * 3, at::kDouble).view({2, 4 * world().size(), 3}); }

at::Tensor share_of(const at::Tensor& all) { return all.narrow(1, 4 * world().rank(), 4); }

TEST(SequenceExchange, TokensComeTogetherInOrder) {
  const at::Tensor x = share_of(whole_tokens()).clone().requires_grad_(true);
  const at::Tensor all = gather_tokens(x, world().host());
  EXPECT_TRUE(at::equal(all, whole_tokens()));
  all.backward(whole_tokens() * (1 + world().rank()));  // each rank asks for something else
  const double asked = world().size() * (world().size() + 1) / 2.0;
  EXPECT_TRUE(at::allclose(x.grad(), x.detach() * asked));
}

TEST(SequenceExchange, OfASumEachHasItsShare) {
  const at::Tensor x = (whole_tokens() * (1 + world().rank())).requires_grad_(true);
  const at::Tensor share = sum_tokens(x, world().host());
  const double terms = world().size() * (world().size() + 1) / 2.0;
  EXPECT_TRUE(at::allclose(share, share_of(whole_tokens()) * terms));
  share.backward(share_of(whole_tokens()));
  EXPECT_TRUE(at::equal(x.grad(), whole_tokens()));
}

TEST(SequenceExchange, TokensThatDoNotDivideAreAnError) {
  if (world().size() == 1) GTEST_SKIP() << "one rank has all";
  EXPECT_THROW(sum_tokens(at::zeros({1, world().size() + 1, 2}), world().host()), Error);
}

struct Variant {
  const char *dialect, *residual = "residual", *form = "poc";
  bool tied = false, recompute = false;
};

void PrintTo(const Variant& v, std::ostream* out) {
  *out << v.dialect << " " << v.residual << " " << v.form << (v.tied ? " tied" : "") << (v.recompute ? " recomputed" : "");
}

class SequenceParts : public testing::TestWithParam<Variant> {};

TEST_P(SequenceParts, GiveTheLossAndTheGradientsOfTheWhole) {
  const Variant& v = GetParam();
  ModelConfig config = test::even_model(v.dialect, v.residual);
  config.connection_form = v.form;
  config.tie_embeddings = v.tied;
  config.context = 12;
  Transformer whole(config, Precision::fp64, at::kCPU);
  const auto parts = test::cut_model(config, TokensBetween::share);
  const test::Sample sample = test::random_sample(config, 3, 6);
  for (Transformer* model : {&whole, parts.get()}) {
    if (v.recompute) model->wrap_blocks(recompute_blocks());
    test::randomise(*model, 5, 0.3);
    test::backward(*model, sample, 2);
  }
  if (world().size() > 1) sum_gradients(whole_ranges(parts->parameters()), parameters_of_shares(*parts), world().host());
  EXPECT_NEAR(test::loss_of(*parts, sample), test::loss_of(whole, sample), 1e-11);
  for (const Parameter& p : parts->parameters().all()) {
    const at::Tensor expected = test::part_of(whole.parameters().named(p.name).gradient, p);
    EXPECT_LT((p.gradient - expected).abs().max().item<double>(), 1e-11) << p.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, SequenceParts,
                         testing::Values(Variant{"poc"}, Variant{"llama"}, Variant{"poc", "mhc", "poc", false, true},
                                         Variant{"llama", "mhc", "paper", true, true}, Variant{"poc", "hc", "paper"},
                                         Variant{"llama", "residual", "poc", true, true}));

// The most that a rank's tensors take within a step, beyond what they take between steps.
int64_t measured_activations(const ModelConfig& config, const TrainConfig& train, int64_t samples) {
  test::CountingAllocator memory;
  Transformer model(tensor_share(config, world().rank(), world().size()), train.numeric(), at::kCPU);
  join_tensor_parts(model, config, world().host(), TokensBetween::share);
  test::randomise(model, 1, 0.05);
  if (train.recompute) model.wrap_blocks(recompute_blocks());
  return test::most_within_a_step(memory, model, test::random_sample(config, samples, 3));
}

TEST(SequenceMemory, ActivationsAreWhatWasPlanned) {
  if (world().size() % 2 != 0) GTEST_SKIP() << "with two and four ranks";
  constexpr int64_t samples = 8;
  ParallelConfig parallel;
  parallel.tensor = world().size();
  parallel.sequence = true;
  for (const auto& [dialect, residual, form] : {std::tuple{"poc", "residual", "poc"}, {"llama", "residual", "poc"}, {"poc", "hc", "poc"}, {"llama", "mhc", "paper"}}) {
    ModelConfig config = test::small_model(dialect, residual);
    config.attention = "sdpa";
    config.connection_form = form;
    config.width = 128;
    config.heads = 8;
    config.kv_heads = config.is_llama() ? 4 : 0;
    config.mlp_width = 512;
    config.vocabulary = 200;
    config.context = 64;
    config.layers = 4;
    for (const char* precision : {"fp32", "bf16"}) {
      for (const bool recompute : {false, true}) {
        TrainConfig train;
        train.precision = precision;
        train.recompute = recompute;
        const MemoryPlan plan = plan_memory(tensor_share(config, 0, world().size()), {}, {}, {}, train, parallel, samples, 1);
        EXPECT_NEAR(double(measured_activations(config, train, samples)) / double(plan.activations), 1, 0.05)
            << dialect << ' ' << residual << ' ' << form << ' ' << precision << (recompute ? " recomputed" : "");
      }
    }
  }
}

}  // namespace
}  // namespace braid
