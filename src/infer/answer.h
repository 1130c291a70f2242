// SPDX-License-Identifier: Apache-2.0
// One request and its answer while it grows: tokens go in as they are sampled, text comes out as soon as it is certain.
// Whoever runs the steps, for one batch or for a stream of requests, asks it whether to go on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "infer/sampled_token.h"
#include "infer/sampling_options.h"
#include "infer/stop_strings.h"
#include "text/tokenizer.h"

namespace braid {

struct GenerationRequest {
  std::vector<int64_t> prompt;
  SamplingOptions sampling;
  int64_t max_tokens = 64;
  int64_t min_tokens = 0;                 // before these neither stop ids nor stop strings end the answer
  std::vector<int64_t> stop_ids;          // the answer ends after one of these
  std::vector<std::string> stop_strings;  // and before one of these; they need a tokenizer
  std::string past;                       // what the prompt stands behind (Engine::add_past); "": nothing
};

// UsageError, which begins with `where`, for a request that a model of this vocabulary and context cannot answer where
// its prompt begins at `first_position`.
void check_request(const GenerationRequest& request, int64_t vocabulary, int64_t context, const std::string& where,
                   int64_t first_position = 0);

// The request's sampling options with what min_tokens makes of them.
SamplingOptions sampling_of(const GenerationRequest& request);

enum class FinishReason { none, stop, length };  // as OpenAI's API names them; none: it goes on
const char* name_of(FinishReason reason);

struct Answer {
  std::vector<SampledToken> tokens;  // a stop id, and tokens of a stop string, among them
  std::string text;                  // of all tokens but a stop id, up to the stop string; "" without a tokenizer
  FinishReason reason = FinishReason::none;
  std::string stop_string;         // which came, "" for none
  std::optional<int64_t> stop_id;  // likewise

  std::vector<int64_t> ids() const;
};

class GrowingAnswer {
 public:
  // Without a tokenizer (null) there is no text; it must outlive this. UsageError: stop strings then, or empty ones.
  GrowingAnswer(const GenerationRequest& request, const Tokenizer* tokenizer);

  // Takes the next token and returns the text that it makes certain; with the last one all that is left, so that these
  // texts, joined, are the answer's.
  std::string push(SampledToken token);
  bool finished() const { return answer_.reason != FinishReason::none; }
  const Answer& answer() const { return answer_; }

 private:
  std::string finish(FinishReason reason, std::string text);
  std::string filtered(const std::string& text);

  int64_t max_tokens_, min_tokens_;
  std::vector<int64_t> stop_ids_;
  StopStrings stops_;
  std::optional<IncrementalDecoder> decoder_;
  Answer answer_;
};

}  // namespace braid
