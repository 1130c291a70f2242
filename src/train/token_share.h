// SPDX-License-Identifier: Apache-2.0
// What of a batch a rank has where several share the tokens of each sample.
#pragma once

#include "comm/mesh.h"
#include "data/dataset.h"
#include "nn/lora.h"
#include "parallel/zigzag.h"

namespace braid {

ContextPart context_part(const Mesh& mesh);

// The rank's tokens of each sample, with their targets (zigzag_positions); the batch itself for one rank. Numbers of their segments are
// then the places in the sample where these begin, which ranks need not ask each other for.
Batch own_tokens(Batch batch, ContextPart part);

// For adapters' dropout on samples [first, first + samples) of a step, of each of which the rank has `length` tokens: an element
// is drawn by its place in the whole batch.
DropoutPosition dropout_position(int64_t step, int64_t first, int64_t samples, int64_t length, ContextPart part);

}  // namespace braid
