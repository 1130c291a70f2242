// SPDX-License-Identifier: Apache-2.0
// How long answers to one prompt take, part by part, and what their steps read: what braid bench decode tells.
#pragma once

#include <cstdint>
#include <vector>

#include "infer/engine.h"
#include "nn/transformer.h"

namespace braid {

// In seconds; the parts are sums over all steps of an engine: blocks and head; choosing tokens, until they are on the host, and
// the engine's accounts; ids to text.
struct DecodeTiming {
  double first_token = 0;     // the prompts, and the first token of each stream
  std::vector<double> steps;  // those behind it that bring a token to every stream
  double forward = 0, sampling = 0, text = 0;
  Answer answer;  // of the first stream
  EngineState engine;  // when all was done
};

// The request in `streams` copies beside each other, answer i drawing as number i, each of exactly max_tokens, by an engine of
// their own as generate makes one (infer/generate.h); on GPUs it is warm before the first step. Without a tokenizer (null) there
// are no texts. UsageError: what generate refuses. Error: the model's logits are NaN or infinite.
DecodeTiming time_decoding(Transformer& model, const GenerationRequest& request, int64_t streams,
                           const Tokenizer* tokenizer);

// Bytes of weights that a step reads, adapters included: all but the rows of an embedding that is not the head as well
// and of a hash memory's table.
int64_t weight_bytes_read(Transformer& model);

// Bytes per second at which all threads of this process, or a GPU, read memory: the best of some passes over 512 MiB,
// or twice what the last caches hold where that is more.
double read_bandwidth(const at::Device& device);

}  // namespace braid
