// SPDX-License-Identifier: Apache-2.0
// What a model's weights take, as they lie in memory.
#pragma once

#include <cstdint>

#include "nn/transformer.h"

namespace braid {

// Bytes of parameters (with their gradients, where they are trained), quantised matrices, adapters and a hash memory;
// what several share counts once.
int64_t weight_bytes(Transformer& model);

}  // namespace braid
