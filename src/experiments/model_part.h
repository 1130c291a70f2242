// SPDX-License-Identifier: Apache-2.0
// A model that lies on several ranks (parallel/tensor_parallel.h), ready to be asked by all of them together.
#pragma once

#include "comm/communicator.h"
#include "experiments/adapted_model.h"

namespace braid {

// As load_adapted_model, but each rank of `parts` loads its part of the model and of its adapters; `shape` is that of the
// whole. A hash memory and gists' vectors are whole on each. `parts` must outlive the model. UsageError, too: what cannot be cut
// so, DoRA and saved modules.
AdaptedModel load_model_part(const ModelSource& source, Precision precision, const at::Device& device, Communicator& parts);

}  // namespace braid
