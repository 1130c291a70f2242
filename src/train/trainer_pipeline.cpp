// SPDX-License-Identifier: Apache-2.0
// A step of a model that is a stage of a pipeline.
#include "nn/precompiled.h"
#include "train/evaluate.h"
#include "train/trainer.h"

namespace braid {

void Trainer::run_pipeline(const Batch& batch, double targets) {
  const std::vector<MicroBatch> passes = micro_batches(batch);
  LossTotals nobody = make_loss_totals(task_.model.device());
  Pipeline::Step step;
  step.passes = std::ssize(passes);
  step.pass = [&](int64_t i) {
    const MicroBatch& pass = passes[size_t(i)];
    return pass_of(task_.model, batch, pass.first, pass.count, pass.counts ? 1 / targets : 0, pass.counts ? totals_ : nobody,
                   &mesh_.context().data);
  };
  step.before = [&](int64_t i) { set_dropout(batch, passes[size_t(i)]); };
  step.before_backward = [&](bool last) {
    sets_.arm(last);
    sets_.start_backward();
  };
  task_.pipeline->run(step);
}

}  // namespace braid
