// SPDX-License-Identifier: Apache-2.0
// Ranks that hold one model, each with a share of the tokens between its cut layers, compute what one does: losses and gradients,
// in double.
#include "parallel/sequence_exchange.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cut_model.h"
#include "nn/recompute.h"
#include "parallel/shared_gradients.h"

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
  if (world().size() > 1) sum_gradients(parameters_of_shares(*parts), world().host());
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

}  // namespace
}  // namespace braid
