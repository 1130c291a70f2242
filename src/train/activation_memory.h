// SPDX-License-Identifier: Apache-2.0
// What a step's forward passes leave for backward, and the most that backward holds beside it.
#pragma once

#include <cstdint>

#include "nn/hash_memory_config.h"
#include "nn/model_config.h"
#include "train/train_config.h"

namespace braid {

struct PassesKept {
  int64_t tokens = 0;     // of one pass on this rank
  bool rings = false;     // keys and values go round ranks (parallel/ring_attention.h)
  int64_t parts = 1;      // of the tokens, of which this rank has one between layers that are cut (parallel.sequence)
  double at_a_time = 1;   // passes between their forward and their backward half, as a stage of a pipeline has several
};

// Bytes, of the layers that are here, where the model's own weights are trained.
int64_t activation_bytes(const ModelConfig& model, const TrainConfig& train, const HashMemoryConfig& memory,
                         const PassesKept& passes);

// What one token of a block takes where its passes are put together otherwise, bytes: kept, of that its attention's part, its
// input alone, the most that its backward pass holds beside it, the most of a forward pass without gradients whose keys and values
// are kept, and around the loss. Of `tokens` tokens at a time.
struct BlockBytes {
  int64_t kept = 0, attention = 0, input = 0, passing = 0, forward = 0, head = 0;
};
BlockBytes block_bytes(const ModelConfig& model, const TrainConfig& train, int64_t tokens);

// Bytes of the rows of a hash memory that a rank's tokens of a step name, with their numbers and gradients: as many as are to be
// expected (expected_rows).
int64_t fetched_bytes(const ModelConfig& model, const HashMemoryConfig& memory, int64_t tokens);

}  // namespace braid
