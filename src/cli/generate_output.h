// SPDX-License-Identifier: Apache-2.0
// How braid generate tells its answers.
#pragma once

#include "infer/generate.h"

namespace braid {

std::string joined(const std::vector<int64_t>& ids);  // "1,4093,253"

// One prompt with its answers.
struct Told {
  size_t prompt = 0;  // counted from 0
  const GenerationRequest& request;
  std::span<const Answer> answers;
};

// One line: {"prompt", "prompt_tokens", "seed", "answers": [{"index", "text", "tokens", "finish_reason", "stop",
// "logprobs"}]}. Without a tokenizer (null) there is no text; seed is null where nothing was drawn, logprobs only where
// asked for.
std::string answers_as_json(const Told& told, const Tokenizer* tokenizer);

// A token on its way: {"prompt", "index", "id", "text"}.
std::string piece_as_json(size_t prompt, size_t index, int64_t id, const std::string& text);

struct GenerationTimings {
  size_t later = 0;  // tokens but the first of each answer
  double prefill_seconds = 0, decode_seconds = 0;
  bool speculates = false;
  int64_t proposed = 0, accepted = 0;  // then

  void add(const Generated& done);
  void tell() const;  // on standard error
};

}  // namespace braid
