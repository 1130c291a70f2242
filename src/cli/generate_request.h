// SPDX-License-Identifier: Apache-2.0
// What braid generate was asked for.
#pragma once

#include <optional>

#include "cli/speculation_request.h"
#include "infer/answer.h"

namespace braid {

// What the user said of sampling; the rest is as the model's folder has it.
struct GivenSampling {
  std::optional<double> temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int64_t> top_k, logprobs;
  std::optional<uint64_t> seed;

  SamplingOptions over(SamplingOptions defaults) const;
};

struct GenerateRequest {
  ModelOptions model;
  std::vector<std::vector<int64_t>> ids;
  std::vector<std::string> prompts;
  GivenSampling sampling;
  SpeculationRequest speculation;
  std::string gists;     // a cache of gists that prompts stand behind, "" for none
  int64_t context = -1;  // of the cache; -1: its only one
  std::vector<std::string> stop_strings;
  int64_t max_new_tokens = 0, min_new_tokens = 0, answers = 1;
  bool json = false, stream = false, timings = false;
};

void add_generate_options(cxxopts::Options& options);
GenerateRequest read_generate_request(const cxxopts::ParseResult& parsed);  // UsageError

// The options of one request over those of the model's folder (folder_sampling). UsageError: a filter without a
// temperature.
SamplingOptions sampling_for(const GenerateRequest& request, const SamplingOptions& defaults);

}  // namespace braid
