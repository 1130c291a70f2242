// SPDX-License-Identifier: Apache-2.0
#include "infer/sampling_options.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/json_fields.h"

namespace braid {

namespace {

using nlohmann::json;

struct Checked {
  const char* field;
  double value, least, most;
  std::string expected;
};

// What generate would do otherwise, with the values at which it does nothing.
const json& not_built() {
  static const json fields = {{"num_beams", 1},
                              {"no_repeat_ngram_size", 0},
                              {"typical_p", 1.0},
                              {"epsilon_cutoff", 0.0},
                              {"eta_cutoff", 0.0},
                              {"top_h", nullptr},
                              {"bad_words_ids", nullptr},
                              {"sequence_bias", nullptr},
                              {"suppress_tokens", nullptr},
                              {"guidance_scale", 1},
                              {"penalty_alpha", 0},
                              {"begin_suppress_tokens", nullptr},
                              {"min_new_tokens", 0},
                              {"stop_strings", nullptr},
                              {"forced_bos_token_id", nullptr},
                              {"forced_eos_token_id", nullptr},
                              {"exponential_decay_length_penalty", nullptr}};
  return fields;
}

std::vector<std::string> left_out_of(const json& object) {
  std::vector<std::string> names;
  for (const auto& [name, neutral] : not_built().items()) {
    const auto found = object.find(name);
    if (found != object.end() && !found->is_null() && *found != neutral) names.push_back(name);
  }
  return names;
}

}  // namespace

std::vector<SamplingProblem> sampling_problems(const SamplingOptions& options) {
  constexpr double any = std::numeric_limits<double>::max();
  const Checked all[] = {
      {"temperature", options.temperature, 0, any, "a number from 0"},
      {"top_k", double(options.top_k), 0, any, "a whole number from 0"},
      {"top_p", options.top_p, 0, 1, "a number from 0 to 1"},
      {"min_p", options.min_p, 0, 1, "a number from 0 to 1"},
      {"repetition_penalty", options.repetition_penalty, std::numeric_limits<float>::min(), any, "a number above 0"},
      {"presence_penalty", options.presence_penalty, -2, 2, "a number from -2 to 2"},
      {"frequency_penalty", options.frequency_penalty, -2, 2, "a number from -2 to 2"},
      {"logprobs", double(options.logprobs), -1, double(most_logprobs),
       str("a whole number from 0 to ", most_logprobs)},
  };
  std::vector<SamplingProblem> problems;
  for (const Checked& one : all) {
    const bool good = one.value >= one.least && one.value <= one.most;  // false for NaN
    if (!good) problems.push_back({one.field, one.value, one.expected});
  }
  return problems;
}

void check_sampling(const SamplingOptions& options) {
  for (const SamplingProblem& problem : sampling_problems(options)) {
    throw UsageError(str(problem.field, ": expected ", problem.expected, ", found ", problem.value));
  }
}

SamplingDefaults sampling_defaults(const std::string& generation_text, const std::string& where) {
  SamplingDefaults defaults;
  if (generation_text.empty()) return defaults;
  const json object = parse_json_object(generation_text, where);
  const JsonFields fields(object, where);
  SamplingOptions& options = defaults.options;
  const bool samples = fields.flag("do_sample", false);
  options.temperature = samples ? fields.number("temperature", 0, 1) : 0;
  options.top_k = fields.whole("top_k", 0, INT64_MAX, samples ? 50 : 0);
  options.top_p = fields.number("top_p", 0, 1);
  options.min_p = fields.number("min_p", 0, 0);
  options.repetition_penalty = fields.number("repetition_penalty", 0, 1);
  defaults.left_out = left_out_of(object);
  try {
    check_sampling(options);
  } catch (const UsageError& problem) {
    throw UsageError(str(where, ": ", problem.what()));
  }
  return defaults;
}

}  // namespace braid
