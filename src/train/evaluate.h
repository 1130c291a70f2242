// SPDX-License-Identifier: Apache-2.0
// Loss and accuracy on held-out samples 0..n-1, split over the ranks as batches are; the result does not depend on their
// number.
#pragma once

#include "comm/mesh.h"
#include "data/dataset.h"
#include "nn/transformer.h"
#include "parallel/pipeline.h"
#include "train/curriculum.h"

namespace braid {

struct Evaluation {
  double loss = 0;      // nats per counted target
  double accuracy = 0;  // share of counted targets
  int64_t targets = 0;
};

// Every rank calls it and gets the same answer. `micro_batch` samples at a time, as many on every rank. `loss` instead of
// batch_loss, where there is one; or `pipeline`, of which `model` is a stage.
Evaluation evaluate(Transformer& model, const Dataset& data, int64_t samples, int64_t micro_batch, const Mesh& mesh,
                    const BatchLoss& loss = {}, Pipeline* pipeline = nullptr);

// Fetches what the model's blocks read besides their inputs for samples [first, first + count) of a batch, which may be
// none; nothing where there is no such thing. Collective, until release() of Transformer::block_input.
void fetch_block_inputs(Transformer& model, const Batch& batch, int64_t first, int64_t count);

// tokens or targets of samples [first, first + count) of a batch as a tensor [count, T] on the device.
at::Tensor token_tensor(const std::vector<int64_t>& ids, const Batch& batch, int64_t first, int64_t count,
                        const at::Device& device);

// Samples [first, first + count) of a batch, which adds to `totals`; see Transformer::loss. `sharers`, if not null, are the ranks that
// have tokens of each sample, and the batch is own_tokens.
PipelinePass pass_of(const Transformer& model, const Batch& batch, int64_t first, int64_t count, double scale,
                     LossTotals& totals, Communicator* sharers = nullptr);

// Forward and loss of such a pass.
at::Tensor batch_loss(Transformer& model, const Batch& batch, int64_t first, int64_t count, double scale,
                      LossTotals& totals, Communicator* sharers = nullptr);

}  // namespace braid
