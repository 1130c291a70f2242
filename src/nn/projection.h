// SPDX-License-Identifier: Apache-2.0
// The projections of a llama-dialect model (nn/projection_shape.h) and the layers that hold them.
#pragma once

#include <vector>

#include "nn/projection_shape.h"
#include "nn/transformer.h"

namespace braid {

struct Projection : ProjectionShape {
  Linear* linear = nullptr;
};

// As projection_shapes orders them.
std::vector<Projection> projections(Transformer& model);

}  // namespace braid
