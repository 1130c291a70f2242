// SPDX-License-Identifier: Apache-2.0
#include "nn/context_reading.h"

#include <gtest/gtest.h>

#include "nn/attention_parts.h"
#include "nn/move_keys.h"
#include "support.h"

namespace braid {
namespace {

double largest_difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

class ContextReading : public testing::Test {
 protected:
  ContextReading() : model_(shape(), Precision::fp64, at::kCPU), gists_(model_, 2) {
    test::randomise(model_, 5, 0.3);
    initialise_gists(gists_, 6);
  }
  static ModelConfig shape() { return test::small_model("llama", "residual"); }
  static at::Tensor random_ids(int64_t rows, int64_t tokens, uint64_t seed) {
    at::Generator generator = seeded_generator(seed);
    return at::empty({rows, tokens}, at::kLong).random_(0, shape().vocabulary, generator);
  }
  Transformer model_;
  GistModel gists_;
};

// A context that was read before a question is the whole text in one pass.
TEST_F(ContextReading, AnswersBehindARawContextAreThoseOfOnePass) {
  const at::NoGradGuard no_gradient;
  const at::Tensor context = random_ids(2, 20, 1), question = random_ids(2, 5, 2);
  AnswerPast past = past_of_gists(read_context(model_, context), 20);
  model_.begin_step();
  const at::Tensor whole = model_.logits(at::cat({context, question}, 1)).narrow(1, 20, 5);
  EXPECT_LT(largest_difference(gists_.answer(question, past), whole), 1e-12);
}

// Steps on raw contexts and on gists wait for the same number of gradients, but for the vectors, which nothing reads.
TEST_F(ContextReading, EveryWeightReportsItsGradientOncePerBackward) {
  std::map<std::string, int64_t> reported;
  for (ParameterSet* set : {&model_.parameters(), &gists_.parameters()}) {
    for (Parameter& p : set->all()) p.on_grad_ready = [&](Parameter& ready) { ++reported[ready.name]; };
  }
  model_.begin_step();
  model_.parameters().zero_gradients();
  model_.parameters().start_backward();
  gists_.parameters().start_backward();
  AnswerPast past = past_of_gists(read_context(model_, random_ids(2, 9, 1)), 9);
  LossTotals totals = make_loss_totals(at::kCPU);
  const at::Tensor logits = gists_.answer(random_ids(2, 3, 2), past);
  cross_entropy(logits.reshape({6, -1}), random_ids(2, 3, 5).reshape(-1), 1.0, totals).backward();
  for (const auto& [name, times] : reported) EXPECT_EQ(times, 1) << name;
  EXPECT_EQ(reported.size(), model_.parameters().all().size());
}

// What the first layer's queries look at, by PyTorch's own attention: its output for values that are unit vectors.
TEST_F(ContextReading, AttentionOnAPastIsWhatTheFusedProductWeighs) {
  const at::NoGradGuard no_gradient;
  const ModelConfig config = shape();
  const at::Tensor question = random_ids(2, 3, 2), kept = gists_.compress(random_ids(2, 7, 1));
  const at::Tensor looks = attention_on(model_, question, past_of_gists(kept, 9));
  EXPECT_EQ(looks.sizes(), (std::vector<int64_t>{2, config.layers, config.key_value_heads(), 2}));
  const at::Tensor positions = at::arange(9, 12, at::kLong);
  AttentionContext at_nine;
  at_nine.rotary = rotary_table(positions, config, at::kDouble);
  const Block& block = model_.blocks()[0];
  const at::Tensor x = normalise(embed(question, model_.embedding(), positions), block.norm1);
  const at::Tensor packed = project_heads(x, block.attention, at_nine).transpose(1, 2);
  const int64_t group = config.heads / config.key_value_heads();
  const at::Tensor own = packed.narrow(1, config.heads, config.key_value_heads());
  const at::Tensor keys = at::cat({kept.select(1, 0).select(1, 0), own}, 2).repeat_interleave(group, 1);
  const at::Tensor units = at::eye(5, at::kDouble).expand({2, config.heads, 5, 5});
  const at::Tensor causal = at::ones({3, 5}, at::kBool).tril(2);
  const at::Tensor weights =
      at::scaled_dot_product_attention(packed.narrow(1, 0, config.heads), keys, units, causal, 0.0, false);
  const at::Tensor expected = weights.narrow(3, 0, 2).mean(2).view({2, -1, group, 2}).mean(2);
  EXPECT_LT(largest_difference(looks.select(1, 0), expected), 1e-12);
}

// As many means as tokens are the tokens themselves, further on; one mean is that of keys as they are without a turn.
TEST_F(ContextReading, PooledKeysAreMeansOfKeysWithoutTheirTurn) {
  const at::NoGradGuard no_gradient;
  const at::Tensor kept = read_context(model_, random_ids(2, 6, 1));
  EXPECT_LT(largest_difference(pool_context(kept, 6, shape(), at::kDouble), move_past(kept, 6, shape(), at::kDouble)),
            1e-12);
  const at::Tensor one = pool_context(kept, 1, shape(), at::kDouble);
  EXPECT_LT(largest_difference(one.select(2, 1).squeeze(3), kept.select(2, 1).mean(3)), 1e-12);
  at::Tensor sum = at::zeros_like(one.select(2, 0));
  for (int64_t t = 0; t < 6; ++t) sum += move_past(kept.narrow(4, t, 1), 6 - t, shape(), at::kDouble).select(2, 0);
  EXPECT_LT(largest_difference(one.select(2, 0), sum / 6), 1e-12);
}

TEST_F(ContextReading, SelectedPositionsAreThoseOfEachHeadInTheirOrder) {
  const at::NoGradGuard no_gradient;
  const at::Tensor kept = read_context(model_, random_ids(1, 5, 1));
  at::Tensor weights = at::zeros({1, 3, 2, 5}, at::kDouble);
  weights.select(2, 0).copy_(at::tensor({0.0, 3.0, 0.0, 1.0, 0.0}, at::kDouble).expand({1, 3, 5}));
  weights.select(2, 1).copy_(at::tensor({4.0, 0.0, 0.0, 0.0, 5.0}, at::kDouble).expand({1, 3, 5}));
  const at::Tensor chosen = select_positions(kept, weights, 2);
  EXPECT_TRUE(at::equal(chosen.select(3, 0), kept.select(3, 0).index_select(3, at::tensor({1, 3}, at::kLong))));
  EXPECT_TRUE(at::equal(chosen.select(3, 1), kept.select(3, 1).index_select(3, at::tensor({0, 4}, at::kLong))));
}

}  // namespace
}  // namespace braid
