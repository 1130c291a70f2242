// SPDX-License-Identifier: Apache-2.0
// What a run file says of a signal on its way through the layers: of the product of the mixing matrices each step, in
// /train; of every layer, in /layers, every so many steps, since that reads the residual stream once more.
// All values are of all tokens and all ranks of a step. Mixing matrices that depend on the token are measured as the
// mean over those tokens, before the update; others after it. Gradients are those of the step, before clipping.
#pragma once

#include "nn/transformer.h"
#include "train/trainer.h"

namespace braid {

// Columns of /train and datasets of /layers, of which a model without streams has fewer. `every` 0: nothing by layer.
// `model` and `mesh` must outlive it; the model's depth is observed from now on. Of a model that is a stage of a pipeline rank 0
// learns of the other stages' layers in messages of their own, each step. `sharers` see all tokens of a step between them: ranks of this
// stage, or all ranks.
ExtraMetrics depth_metrics(Transformer& model, const Mesh& mesh, Communicator& sharers, int64_t every);

}  // namespace braid
