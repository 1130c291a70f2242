// SPDX-License-Identifier: Apache-2.0
// Ranks that hold one model, each with a share of the tokens between its cut layers, compute what one does: losses and gradients,
// in double, in one stage or two; and keep what is planned.
#include "parallel/sequence_exchange.h"

#include <gtest/gtest.h>

#include "../train/measured_step.h"
#include "base/error.h"
#include "comm/mesh.h"
#include "cut_model.h"
#include "nn/recompute.h"
#include "parallel/pipeline.h"
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

// Two stages of two ranks, each of which hands its share of the tokens on.
struct StagesOfShares {
  static constexpr MeshShape arranged{2, 1, 2};
  Mesh mesh;
  ModelConfig held;
  Transformer stage;
  Pipeline pipeline;

  StagesOfShares(const ModelConfig& whole, const PipelineShape& shape, Precision precision = Precision::fp64)
      : mesh({world().host(), world().data()}, arranged),
        held(stage_share(whole, shape, mesh.place().pipeline)),
        stage(tensor_share(held, mesh.place().tensor, 2), precision, at::kCPU),
        pipeline(stage, shape, mesh.pipeline(), 2) {
    join_tensor_parts(stage, held, mesh.tensor().host, TokensBetween::share);
  }

  int64_t micro_batch = 2;

  // The samples' loss.
  double step(const test::Sample& sample) {
    LossTotals totals = make_loss_totals(at::kCPU);
    const int64_t samples = sample.tokens.size(0);
    const auto rows = [&](int64_t i) -> PipelinePass {
      const int64_t first = micro_batch * i, count = std::min(micro_batch, samples - first);
      return {sample.tokens.narrow(0, first, count), sample.targets.narrow(0, first, count), {}, 1.0, &totals};
    };
    stage.begin_step();
    pipeline.run({(samples + micro_batch - 1) / micro_batch, rows, [](int64_t) {}, [&](bool) { stage.parameters().start_backward(); }});
    stage.end_backward();
    sum_gradients(whole_ranges(stage.parameters()), parameters_of_shares(stage), mesh.tensor().host);
    pipeline.sum_tied_gradient();
    pipeline.share(totals);
    return totals.values[LossTotals::loss].item<double>();
  }
};

TEST(SequenceStages, HandOnSharesAndGiveTheGradientsOfTheWhole) {
  if (world().size() != 4) GTEST_SKIP() << "two stages of two ranks";
  for (const auto& [v, schedule] : {std::pair(Variant{"poc"}, "1f1b"), {Variant{"poc", "mhc", "poc", true}, "interleaved"},
                                    {Variant{"llama", "mhc", "paper", true, true}, "1f1b"},
                                    {Variant{"poc", "hc", "paper"}, "interleaved"}}) {
    SCOPED_TRACE(testing::PrintToString(v));
    ModelConfig config = test::even_model(v.dialect, v.residual);
    config.connection_form = v.form;
    config.tie_embeddings = v.tied;
    config.context = 12;
    config.layers = 4;
    Transformer whole(config, Precision::fp64, at::kCPU);
    StagesOfShares parts(config, {2, schedule, std::string(schedule) == "interleaved" ? 2 : 1});
    if (v.recompute) parts.stage.wrap_blocks(recompute_blocks());
    test::randomise(whole, 5, 0.15);
    for (Parameter& p : parts.stage.parameters().all()) take_values(p, whole.parameters().named(p.name).master);
    parts.stage.parameters().refresh_compute();
    const test::Sample sample = test::random_sample(config, 5, 6);
    test::backward(whole, sample, 3);
    EXPECT_NEAR(parts.step(sample), test::loss_of(whole, sample), 1e-10);
    for (const Parameter& p : parts.stage.parameters().all()) {
      const at::Tensor expected = test::part_of(whole.parameters().named(p.name).gradient, p);
      EXPECT_LT((p.gradient - expected).abs().max().item<double>(), 1e-11) << p.name;
    }
  }
}

ModelConfig measured_model(const Variant& v) {
  ModelConfig config = test::small_model(v.dialect, v.residual);
  config.attention = "sdpa";
  config.connection_form = v.form;
  config.width = 128;
  config.heads = 8;
  config.kv_heads = config.is_llama() ? 4 : 0;
  config.mlp_width = 512;
  config.vocabulary = 200;
  config.context = 64;
  config.layers = 4;
  return config;
}

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
    const ModelConfig config = measured_model({dialect, residual, form});
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

// Several micro-batches at a time, in shares.
TEST(SequenceMemory, OfStagesIsWhatWasPlanned) {
  if (world().size() != 4) GTEST_SKIP() << "two stages of two ranks";
  constexpr int64_t samples = 32;
  ParallelConfig parallel;
  parallel.pipeline = parallel.tensor = 2;
  parallel.sequence = true;
  TrainConfig train;
  train.micro_batch = 8;
  for (const auto& [v, precision] : {std::pair(Variant{"llama"}, "fp32"), {Variant{"poc"}, "bf16"}, {Variant{"llama", "mhc", "paper"}, "fp32"},
                                     {Variant{"llama", "mhc", "paper", false, true}, "bf16"}, {Variant{"poc", "hc", "poc", false, true}, "fp32"}}) {
    train.precision = precision;
    train.recompute = v.recompute;
    const ModelConfig config = measured_model(v);
    test::CountingAllocator memory;
    StagesOfShares parts(config, parallel.pipeline_shape(), train.numeric());
    parts.micro_batch = train.micro_batch;
    test::randomise(parts.stage, 1, 0.05);
    if (train.recompute) parts.stage.wrap_blocks(recompute_blocks());
    const test::Sample sample = test::random_sample(config, samples, 3);
    const int64_t stage = parts.mesh.place().pipeline, between = memory.live();
    memory.forget_peak();
    parts.step(sample);
    const MemoryPlan plan = plan_memory(tensor_share(parts.held, 0, 2), {}, {}, {}, train, parallel, samples, 1, stage);
    EXPECT_NEAR(double(memory.peak() - between) / double(plan.activations), 1, 0.05)
        << testing::PrintToString(v) << " " << precision << " stage " << stage;
  }
}

}  // namespace
}  // namespace braid
