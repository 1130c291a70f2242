// SPDX-License-Identifier: Apache-2.0
// How a model's weights lie in memory: what they take, and in pages of which size.
#pragma once

#include <cstdint>

#include "nn/transformer.h"

namespace braid {

// Bytes of parameters (with their gradients, where they are trained), quantised matrices, adapters and a hash memory;
// what several share counts once.
int64_t weight_bytes(Transformer& model);

// For models that are read over and over and no longer changed; on a GPU there is nothing to do (base/large_pages.h).
void gather_weights_into_large_pages(Transformer& model);

}  // namespace braid
