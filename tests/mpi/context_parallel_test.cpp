// SPDX-License-Identifier: Apache-2.0
// A model on ranks that share the tokens of samples computes what it does on one: losses and gradients, in double.
#include "parallel/context_parallel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "base/error.h"
#include "comm/mesh.h"
#include "cut_model.h"
#include "nn/lora_model.h"
#include "nn/recompute.h"
#include "parallel/gradient_reducer.h"
#include "parallel/shared_gradients.h"
#include "train/evaluate.h"
#include "train/token_share.h"

namespace braid {
namespace {

using test::world;

struct Variant {
  const char *dialect, *residual = "residual", *form = "poc";
  bool recompute = false;
  int64_t tensor = 1;  // of the ranks, where so many divide them
};

void PrintTo(const Variant& v, std::ostream* out) {
  *out << v.dialect << " " << v.residual << " " << v.form << (v.recompute ? " recomputed" : "") << " tensor " << v.tensor;
}

ModelConfig model_of(const Variant& v) {
  ModelConfig config = test::even_model(v.dialect, v.residual);
  config.connection_form = v.form;
  config.context = 24;
  return config;
}

// Of a sample of the whole context the tokens of this rank.
test::Sample own(const test::Sample& sample, ContextPart part) {
  const int64_t here = sample.tokens.size(1) / part.ranks;
  const at::Tensor places = at::tensor(zigzag_positions(here, part), at::kLong);
  return {sample.tokens.index_select(1, places), sample.targets.index_select(1, places)};
}

at::Tensor summed(const at::Tensor& values, Communicator& comm) {
  const at::Tensor sum = values.clone();
  comm.all_reduce(buffer_of(sum), ReduceOp::sum).wait();
  return sum;
}

class ContextParts : public testing::TestWithParam<Variant> {};

TEST_P(ContextParts, GiveTheLossAndTheGradientsOfTheWhole) {
  const Variant& v = GetParam();
  if (world().size() % v.tensor != 0) GTEST_SKIP() << "ranks that do not divide";
  const Mesh mesh({world().host(), world().data()}, {1, world().size() / v.tensor, v.tensor});
  const ModelConfig config = model_of(v);
  Transformer whole(config, Precision::fp64, at::kCPU);
  const RankGroup tensor = mesh.tensor(), context = mesh.context();
  Transformer parts(tensor_share(config, tensor.host.rank(), tensor.host.size()), Precision::fp64, at::kCPU);
  join_tensor_parts(parts, config, tensor.host);
  join_context_parts(parts, context.host);
  const test::Sample sample = test::random_sample(config, 3, 6), here = own(sample, context_part(mesh));
  for (Transformer* model : {&whole, &parts}) {
    if (v.recompute) model->wrap_blocks(recompute_blocks());
    test::randomise(*model, 5, 0.3);
    test::backward(*model, model == &whole ? sample : here, 2);
  }
  const at::Tensor loss = at::full({1}, test::loss_of(parts, here), at::kDouble);
  EXPECT_NEAR(summed(loss, context.host).item<double>(), test::loss_of(whole, sample), 1e-10);
  for (const Parameter& p : parts.parameters().all()) {
    const at::Tensor expected = test::part_of(whole.parameters().named(p.name).gradient, p);
    EXPECT_LT((summed(p.gradient, context.host) - expected).abs().max().item<double>(), 1e-11) << p.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ContextParts,
                         testing::Values(Variant{"poc"}, Variant{"llama"}, Variant{"poc", "mhc"},
                                         Variant{"llama", "mhc", "paper", true}, Variant{"poc", "hc", "paper"},
                                         Variant{"llama", "residual", "poc", true, 2}, Variant{"poc", "mhc", "poc", false, 2}));

// Texts of 1 to 7 tokens, some of which begin on one rank and go on on another.
Batch packed_batch(const ModelConfig& config) {
  Batch batch{3, config.context, {}, {}, {}, 0};
  for (int64_t i = 0; i < batch.samples * batch.length; ++i) {
    batch.tokens.push_back((7 * i + i / 5) % config.vocabulary);
    batch.targets.push_back(i % 9 == 4 ? ignored_target : (3 * i + 1) % config.vocabulary);
    batch.segments.push_back(i % batch.length * (i / batch.length + 2) / 13);
  }
  return batch;
}

TEST(ContextParts, OfPackedSamplesSeeTheirOwnTextAlone) {
  for (const Variant& v : {Variant{"poc"}, Variant{"llama", "mhc", "paper", true}, Variant{"llama", "residual", "poc", false, 2}}) {
    SCOPED_TRACE(testing::PrintToString(v));
    if (world().size() % v.tensor != 0) continue;
    const Mesh mesh({world().host(), world().data()}, {1, world().size() / v.tensor, v.tensor});
    const ModelConfig config = model_of(v);
    const Batch batch = packed_batch(config);
    Transformer whole(config, Precision::fp64, at::kCPU);
    const RankGroup tensor = mesh.tensor(), context = mesh.context();
    Transformer parts(tensor_share(config, tensor.host.rank(), tensor.host.size()), Precision::fp64, at::kCPU);
    join_tensor_parts(parts, config, tensor.host, TokensBetween::share);
    join_context_parts(parts, context.host);
    at::Tensor losses[2];
    for (Transformer* model : {&whole, &parts}) {
      if (v.recompute) model->wrap_blocks(recompute_blocks());
      test::randomise(*model, 5, 0.3);
      LossTotals totals = make_loss_totals(at::kCPU);
      model->begin_step();
      model->parameters().start_backward();
      batch_loss(*model, own_tokens(batch, model == &whole ? ContextPart() : context_part(mesh)), 0, 3, 1.0, totals,
                 model == &whole ? nullptr : &context.host)
          .backward();
      model->end_backward();
      losses[model == &parts] = totals.values.clone();
    }
    EXPECT_LT((summed(losses[1], context.host) - losses[0]).abs().max().item<double>(), 1e-10);
    sum_gradients(whole_ranges(parts.parameters()), parameters_of_shares(parts), tensor.host);
    for (const Parameter& p : parts.parameters().all()) {
      const at::Tensor expected = test::part_of(whole.parameters().named(p.name).gradient, p);
      EXPECT_LT((summed(p.gradient, context.host) - expected).abs().max().item<double>(), 1e-11) << p.name;
    }
  }
}

// Elements are drawn by their places in the whole batch, of which a rank has two runs of each sample.
TEST(ContextParts, OfAdaptersDropWhatTheWholeDrops) {
  const ContextPart part{world().rank(), world().size()};
  const ModelConfig config = model_of({"llama"});
  LoraConfig lora;
  lora.rank = 4;
  lora.dropout = 0.3;
  const test::Sample sample = test::random_sample(config, 3, 6);
  std::optional<at::Tensor> expected;
  for (const bool cut : {false, true}) {
    Transformer model(config, Precision::fp64, at::kCPU, Weights::frozen);
    test::randomise(model, 5, 0.3);
    if (cut) join_context_parts(model, world().host());
    LoraModel adapters(model, lora, 7);
    for (Parameter& p : adapters.parameters().all()) p.master.add_(0.1);
    adapters.parameters().refresh_compute();
    const int64_t length = config.context / (cut ? part.ranks : 1);
    adapters.set_position(dropout_position(2, 4, 3, length, cut ? part : ContextPart{}));
    adapters.parameters().zero_gradients();
    test::backward(model, cut ? own(sample, part) : sample);
    const at::Tensor gradient = adapters.parameters().gradient();
    if (!cut) expected = gradient.clone();
    else EXPECT_LT((summed(gradient, world().host()) - *expected).abs().max().item<double>(), 1e-11);
  }
}

TEST(TokenShares, HaveTheirTargetsAndCountThem) {
  const int64_t ranks = world().size(), length = 2 * ranks;
  Batch batch{2, length, {}, {}, {}, 0};
  for (int64_t i = 0; i < 2 * length; ++i) {
    batch.tokens.push_back(i);
    batch.targets.push_back(i % 3 == 0 ? ignored_target : 100 + i);
    batch.target_count += i % 3 != 0;
  }
  const Batch own = own_tokens(batch, {world().rank(), ranks});
  EXPECT_EQ(own.length, 2);
  int64_t counted = 0;
  for (size_t i = 0; i < own.tokens.size(); ++i) {
    const int64_t token = own.tokens[i];
    EXPECT_EQ(own.targets[i], token % 3 == 0 ? ignored_target : 100 + token);
    counted += own.targets[i] != ignored_target;
  }
  EXPECT_EQ(own.target_count, counted);
  EXPECT_EQ(own.tokens[0], world().rank());
  EXPECT_EQ(own.tokens[1], ranks == 1 ? 1 : length - 1 - world().rank());
}

}  // namespace
}  // namespace braid
