// SPDX-License-Identifier: Apache-2.0
#include "train/evaluate.h"

#include <algorithm>

#include "nn/precompiled.h"
#include "parallel/context_parallel.h"
#include "parallel/gradient_reducer.h"
#include "train/token_share.h"

namespace braid {

at::Tensor token_tensor(const std::vector<int64_t>& ids, const Batch& batch, int64_t first, int64_t count,
                        const at::Device& device) {
  const int64_t* start = ids.data() + first * batch.length;
  // from_blob does not own; the copy (to the device, or a clone) does.
  const at::Tensor view = at::from_blob(const_cast<int64_t*>(start), {count, batch.length}, at::kLong);
  return device.is_cpu() ? view.clone() : view.to(device);
}

void fetch_block_inputs(Transformer& model, const Batch& batch, int64_t first, int64_t count) {
  if (!model.block_input()) return;
  const auto tensor = [&](const std::vector<int64_t>& ids) {
    return token_tensor(ids, batch, first, count, model.device());
  };
  model.block_input()->fetch(
      tokens_of(tensor(batch.tokens), batch.segments.empty() ? at::Tensor() : tensor(batch.segments)));
}

PipelinePass pass_of(const Transformer& model, const Batch& batch, int64_t first, int64_t count, double scale,
                     LossTotals& totals, Communicator* sharers) {
  const auto tensor = [&](const std::vector<int64_t>& ids) { return token_tensor(ids, batch, first, count, model.device()); };
  PipelinePass pass{tensor(batch.tokens), tensor(batch.targets), {}, scale, &totals};
  const at::Tensor segments = batch.segments.empty() ? at::Tensor() : tensor(batch.segments);
  if (sharers && sharers->size() > 1) {
    pass.context = context_of_parts(batch.length, segments, pass.ids.options(), *sharers);
    return pass;
  }
  if (!segments.defined()) return pass;
  pass.context.segments = segments;
  pass.context.position_ids = tensor(positions_in_segments(batch.segments, batch.length));
  return pass;
}

at::Tensor batch_loss(Transformer& model, const Batch& batch, int64_t first, int64_t count, double scale,
                      LossTotals& totals, Communicator* sharers) {
  const PipelinePass pass = pass_of(model, batch, first, count, scale, totals, sharers);
  return model.loss(pass.ids, pass.targets, scale, totals, pass.context);
}

Evaluation evaluate(Transformer& model, const Dataset& data, int64_t samples, int64_t micro_batch, const Mesh& mesh,
                    const BatchLoss& loss, Pipeline* pipeline) {
  const at::NoGradGuard no_gradient;
  if (data.epoch_size() > 0) samples = std::min(samples, data.epoch_size());
  const RankGroup data_ranks = mesh.data(), replicas = mesh.replicas();
  Communicator* const sharers = &mesh.context().data;
  const Slice mine = slice_of(samples, data_ranks.host.rank(), data_ranks.host.size());
  LossTotals totals = make_loss_totals(model.device());
  model.residual().begin_step();
  LossTotals nobody = make_loss_totals(model.device());
  const int64_t most = slice_of(samples, 0, data_ranks.host.size()).count;  // of any rank
  for (int64_t done = 0; done < most; done += micro_batch) {
    const int64_t mine_left = std::clamp<int64_t>(mine.count - done, 0, micro_batch);
    const bool idle = mine_left == 0;  // all take part in every fetch of rows and weights, if only for show
    const int64_t count = idle ? 1 : mine_left;
    const Batch batch = own_tokens(gather(data, idle ? 0 : mine.first + done, count), context_part(mesh));
    fetch_block_inputs(model, batch, 0, count);
    LossTotals& sums = idle ? nobody : totals;
    if (pipeline) {
      pipeline->forward(pass_of(model, batch, 0, count, 1.0, sums, sharers));
    } else {
      loss ? loss(batch, 0, count, 1.0, sums) : batch_loss(model, batch, 0, count, 1.0, sums, sharers);
    }
  }
  if (pipeline) pipeline->share(totals);
  if (model.block_input()) model.block_input()->release();
  replicas.data.all_reduce(buffer_of(totals.values), ReduceOp::sum).wait();
  const at::Tensor sums = totals.values.cpu();
  const double* v = sums.const_data_ptr<double>();
  const double count = v[LossTotals::count];
  return {v[LossTotals::loss] / count, v[LossTotals::correct] / count, static_cast<int64_t>(count)};
}

}  // namespace braid
