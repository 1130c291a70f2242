// SPDX-License-Identifier: Apache-2.0
// A model in 4 bits by its shapes alone, for those who count bytes.
#pragma once

#include "nn/transformer.h"

namespace braid {

// Gives the projections of a model on the device "meta" that are not stored (QuantisedProjections) sources without values, as
// a Hugging Face folder would give them with some: of `whole` the model holds all of the depth that is in both, and all or a part
// of its width. A part has absmax that are not quantised themselves (box_of).
void give_quantised_shapes(Transformer& model, const ModelConfig& whole);

}  // namespace braid
