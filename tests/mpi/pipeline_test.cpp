// SPDX-License-Identifier: Apache-2.0
// A model whose depth lies on several ranks computes what it does on one: first values, losses and gradients, in double.
#include "parallel/pipeline.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cut_model.h"
#include "nn/recompute.h"
#include "parallel/gradient_reducer.h"

namespace braid {
namespace {

using test::world;

struct Variant {
  const char *dialect, *residual = "residual", *form = "poc", *schedule = "1f1b";
  bool tied = false, recompute = false;
  const char* exit = "sum";
};

void PrintTo(const Variant& v, std::ostream* out) {
  *out << v.dialect << " " << v.residual << " " << v.form << " " << v.schedule << (v.tied ? " tied" : "")
       << (v.recompute ? " recomputed" : "");
}

bool is_interleaved(const Variant& v) { return std::string(v.schedule) == "interleaved"; }

ModelConfig model_of(const Variant& v) {
  ModelConfig config = test::small_model(v.dialect, v.residual);
  config.layers = 9;  // of which no number of stages has equal shares
  config.connection_form = v.form;
  config.connection_start = "identity_random";
  config.stream_exit = v.exit;
  config.tie_embeddings = v.tied;
  return config;
}

void start(Transformer& model, const ModelConfig& whole) {
  at::Generator generator = seeded_generator(3);
  model.config().is_llama() ? initialise_llama(model, 3) : initialise_poc(model, generator, whole);
}

class Stages : public testing::TestWithParam<Variant> {
 protected:
  Stages()
      : config(model_of(GetParam())),
        shape{world().size(), GetParam().schedule, world().size() > 1 && is_interleaved(GetParam()) ? 2 : 1},
        whole(config, Precision::fp64, at::kCPU),
        stage(stage_share(config, shape, world().rank()), Precision::fp64, at::kCPU),
        pipeline(stage, shape, {world().host(), world().host()}) {
    if (GetParam().recompute) stage.wrap_blocks(recompute_blocks());
  }

  void share_weights() {
    test::randomise(whole, 5, 0.3);
    const at::NoGradGuard no_gradient;
    for (Parameter& p : stage.parameters().all()) take_values(p, whole.parameters().named(p.name).master);
    stage.parameters().refresh_compute();
  }

  PipelinePass rows(const test::Sample& sample, int64_t first, int64_t count, LossTotals& totals) const {
    return {sample.tokens.narrow(0, first, count), sample.targets.narrow(0, first, count), {}, 1.0, &totals};
  }

  ModelConfig config;
  PipelineShape shape;
  Transformer whole, stage;
  Pipeline pipeline;
};

TEST_P(Stages, BeginWithTheValuesOfTheWhole) {
  start(whole, config);
  start(stage, config);
  for (const Parameter& p : stage.parameters().all()) {
    const Parameter& expected = whole.parameters().named(p.name);
    EXPECT_EQ(p.shape, expected.shape) << p.name;
    EXPECT_TRUE(at::equal(p.master, test::part_of(expected.master, p))) << p.name;
  }
}

// Together the stages have every element once, but for an embedding that is the head as well.
TEST_P(Stages, CoverTheWhole) {
  for (const Parameter& p : whole.parameters().all()) {
    int64_t elements = 0;
    for (const Parameter& mine : stage.parameters().all()) elements += mine.name == p.name ? mine.elements() : 0;
    world().host().all_reduce({&elements, 1, Dtype::int64}, ReduceOp::sum).wait();
    const bool twice = GetParam().tied && p.name == "embedding.weight" && world().size() > 1;
    EXPECT_EQ(elements, p.elements() * (twice ? 2 : 1)) << p.name;
  }
}

// Five samples as micro-batches of two, so that the last is smaller, in two steps: buffers are used again.
TEST_P(Stages, GiveTheLossAndTheGradientsOfTheWhole) {
  share_weights();
  for (const uint64_t seed : {6, 7}) {
    const test::Sample sample = test::random_sample(config, 5, seed);
    test::backward(whole, sample, 3);
    LossTotals totals = make_loss_totals(at::kCPU);
    stage.begin_step();
    pipeline.run({3, [&](int64_t i) { return rows(sample, 2 * i, i < 2 ? 2 : 1, totals); }, [](int64_t) {},
                  [&](bool) { stage.parameters().start_backward(); }});
    stage.end_backward();
    pipeline.sum_tied_gradient();
    pipeline.share(totals);
    EXPECT_NEAR(totals.values[LossTotals::loss].item<double>(), test::loss_of(whole, sample), 1e-10);
    for (const Parameter& p : stage.parameters().all()) {
      const at::Tensor expected = test::part_of(whole.parameters().named(p.name).gradient, p);
      EXPECT_LT((p.gradient - expected).abs().max().item<double>(), 1e-11) << p.name;
    }
  }
}

TEST_P(Stages, JudgeWithoutGradientsAsTheWholeDoes) {
  share_weights();
  const at::NoGradGuard no_gradient;
  const test::Sample sample = test::random_sample(config, 5, 6);
  LossTotals totals = make_loss_totals(at::kCPU);
  stage.residual().begin_step();
  for (int64_t first = 0; first < 5; ++first) pipeline.forward(rows(sample, first, 1, totals));
  pipeline.share(totals);
  EXPECT_NEAR(totals.values[LossTotals::loss].item<double>(), test::loss_of(whole, sample), 1e-10);
  EXPECT_EQ(totals.values[LossTotals::count].item<double>(), 5 * config.context - 1);
}

INSTANTIATE_TEST_SUITE_P(Models, Stages,
                         testing::Values(Variant{"poc"}, Variant{"llama", "residual", "poc", "gpipe", true},
                                         Variant{"poc", "mhc", "poc", "interleaved"}, Variant{"poc", "hc", "poc", "1f1b", true},
                                         Variant{"llama", "mhc", "paper", "1f1b", false, true, "learned"},
                                         Variant{"llama", "hc", "paper", "interleaved", true},
                                         Variant{"llama", "mhc", "paper", "interleaved"},
                                         Variant{"llama", "residual", "poc", "interleaved", false, true}));

TEST(PipelineStages, ThatDoNotAgreeOnWhatGoesBetweenThemAreToldSo) {
  if (world().size() == 1) GTEST_SKIP() << "one stage";
  ModelConfig config = model_of({"llama"});
  config.width = world().rank() == 1 ? 32 : 16;
  const PipelineShape shape{world().size(), "1f1b", 1};
  Transformer stage(stage_share(config, shape, world().rank()), Precision::fp32, at::kCPU);
  try {
    Pipeline pipeline(stage, shape, {world().host(), world().host()});
    FAIL() << "stages of other widths";
  } catch (const UsageError& problem) {
    const std::string line = problem.what();
    EXPECT_NE(line.find("stage 0 hands on samples of 6 tokens x 16"), std::string::npos) << line;
    EXPECT_NE(line.find("stage 1 expects samples of 6 tokens x 32"), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace braid
