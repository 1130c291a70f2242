// SPDX-License-Identifier: Apache-2.0
// How the next token is chosen, as one request asks for it. In this order: repetition penalty, presence and frequency
// penalty, tokens that may not come yet, temperature, top-k, top-p, min-p, the draw.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace braid {

struct SamplingOptions {
  double temperature = 0;  // logits are divided by it; 0: the likeliest token, whatever the filters say
  int64_t top_k = 0;       // the k likeliest, and those as likely as the k-th; 0: all
  double top_p = 1;        // of those the fewest whose probabilities add up to it
  double min_p = 0;        // of those the ones at least this part as likely as the likeliest
  // Logits of tokens of the prompt or the answer are divided by it where positive, multiplied where negative (CTRL,
  // arXiv 1909.05858), as transformers does.
  double repetition_penalty = 1;
  // Taken off the logits of the answer's tokens: once, and once for each time (OpenAI's API reference).
  double presence_penalty = 0, frequency_penalty = 0;
  // Draw s is philox(seed, answer, s): nothing beside these has a say.
  uint64_t seed = 0;
  int64_t answer = 0;      // of several to one prompt
  int64_t logprobs = -1;   // so many of the likeliest tokens are told beside each chosen one; -1: nothing is told
  int64_t barred_for = 0;  // steps in which none of `barred` is chosen
  std::vector<int64_t> barred;

  bool draws() const { return temperature > 0; }
  bool penalises() const { return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0; }
};

constexpr int64_t most_logprobs = 20;

// A value that cannot be.
struct SamplingProblem {
  std::string field;  // "top_p"
  double value;
  std::string expected;  // "a number from 0 to 1"
};
std::vector<SamplingProblem> sampling_problems(const SamplingOptions& options);
void check_sampling(const SamplingOptions& options);  // UsageError for the first: "top_p: expected …, found …"

// What a model's folder asks for. Its own defaults are transformers' generate's: greedy unless do_sample is true, and
// then with top_k 50 unless the file says otherwise.
struct SamplingDefaults {
  SamplingOptions options;
  std::vector<std::string> left_out;  // fields that transformers would heed and that are not built
};

// From the text of generation_config.json, "" for none; `where` is what messages begin with. UsageError.
SamplingDefaults sampling_defaults(const std::string& generation_text, const std::string& where);

}  // namespace braid
