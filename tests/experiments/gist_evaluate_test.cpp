// SPDX-License-Identifier: Apache-2.0
// The fault that looks like success: a model trained with its context in sight. Its loss falls as if it had learned to
// compress, and only an evaluation that really reads gists alone tells.
#include "experiments/gist_evaluate.h"

#include <gtest/gtest.h>

#include "comm/communicator.h"
#include "data/passkey_task.h"
#include "experiments/gist_training.h"
#include "nn/initialise.h"
#include "nn/precompiled.h"
#include "optim/adamw.h"
#include "train/evaluate.h"

namespace braid {
namespace {

constexpr int64_t context = 16;

RunConfig small_run() {
  RunConfig config;
  config.model = {};
  config.model.dialect = "llama";
  config.model.layers = 3;
  config.model.width = 64;
  config.model.heads = 4;
  config.model.mlp_width = 128;
  config.model.vocabulary = passkey::vocabulary;
  config.model.context = context + passkey::question_tokens;
  config.gist.count = 1;
  config.gist.segment = context;
  config.optim.learning_rate = 4e-3;
  config.optim.beta2 = 0.98;
  return config;
}

TEST(GistEvaluation, TrainingWithTheContextInSightIsCaught) {
  const RunConfig config = small_run();
  GistRun run;
  run.config = config;
  AdaptedModel& loaded = run.loaded;
  loaded.model = std::make_unique<Transformer>(config.model, Precision::fp32, at::kCPU);
  loaded.gists = std::make_unique<GistModel>(*loaded.model, 1);
  initialise_gist_model(*loaded.gists, config);
  Transformer& model = *loaded.model;
  const PasskeyTask data({context, 1, Split::train, 0, {}});
  AdamW optimizer(model.parameters(), config.optim);
  double loss = 0;
  for (int64_t step = 0; step < 250; ++step) {
    const Batch batch = gather(data, step * 64, 64);
    LossTotals totals = make_loss_totals(at::kCPU);
    model.begin_step();
    model.parameters().start_backward();
    batch_loss(model, batch, 0, 64, 1.0 / double(batch.target_count), totals).backward();
    optimizer.step(config.optim.learning_rate * std::min(1.0, double(step + 1) / 50), 1.0);
    loss = totals.values[LossTotals::loss].item<double>() / double(batch.target_count);
  }
  EXPECT_LT(loss, 0.3);  // nats a target, of 1.9 to begin with
  GistTest test;
  test.lengths = {context};
  test.seed = 1;
  const auto comm = make_single_communicator();
  double full = 0, gist = 1;
  for (const GistLine& line : evaluate_gists(run, test, *comm)) {
    const double share = double(line.result.tally().strict) / double(test.limit);
    if (line.result.system == "full") full = share;
    if (line.result.system == "gist") gist = share;
  }
  EXPECT_GT(full, 0.5);
  EXPECT_LE(gist, 0.02);
}

}  // namespace
}  // namespace braid
