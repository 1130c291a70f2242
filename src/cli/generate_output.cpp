// SPDX-License-Identifier: Apache-2.0
#include "cli/generate_output.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace braid {

namespace {

using OrderedJson = nlohmann::ordered_json;

std::string line_of(const OrderedJson& object) {
  return object.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

OrderedJson logprob_json(int64_t id, double logprob, const Tokenizer* tokenizer) {
  OrderedJson one = {{"id", id}, {"logprob", logprob}};
  if (tokenizer) one["token"] = tokenizer->id_to_token(static_cast<TokenId>(id)).value_or("");
  return one;
}

OrderedJson logprobs_json(const Answer& answer, const Tokenizer* tokenizer) {
  OrderedJson list = OrderedJson::array();
  for (const SampledToken& token : answer.tokens) {
    OrderedJson one = logprob_json(token.id, token.logprob, tokenizer);
    one["top"] = OrderedJson::array();
    for (const TokenLogprob& other : token.top) one["top"].push_back(logprob_json(other.id, other.logprob, tokenizer));
    list.push_back(std::move(one));
  }
  return list;
}

OrderedJson stop_json(const Answer& answer) {
  if (!answer.stop_string.empty()) return answer.stop_string;
  return answer.stop_id ? OrderedJson(*answer.stop_id) : OrderedJson(nullptr);
}

OrderedJson answer_json(const Answer& answer, size_t index, bool logprobs, const Tokenizer* tokenizer) {
  OrderedJson one = {{"index", index}};
  if (tokenizer) one["text"] = answer.text;
  one["tokens"] = answer.ids();
  one["finish_reason"] = name_of(answer.reason);
  one["stop"] = stop_json(answer);
  if (logprobs) one["logprobs"] = logprobs_json(answer, tokenizer);
  return one;
}

}  // namespace

std::string joined(const std::vector<int64_t>& ids) {
  std::string text;
  for (const int64_t id : ids) text += str(text.empty() ? "" : ",", id);
  return text;
}

std::string answers_as_json(const Told& told, const Tokenizer* tokenizer) {
  const SamplingOptions& sampling = told.request.sampling;
  OrderedJson line = {{"prompt", told.prompt}, {"prompt_tokens", told.request.prompt.size()}};
  line["seed"] = sampling.draws() ? OrderedJson(sampling.seed) : OrderedJson(nullptr);
  line["answers"] = OrderedJson::array();
  for (size_t i = 0; i < told.answers.size(); ++i) {
    line["answers"].push_back(answer_json(told.answers[i], i, sampling.logprobs >= 0, tokenizer));
  }
  return line_of(line);
}

std::string piece_as_json(size_t prompt, size_t index, int64_t id, const std::string& text) {
  return line_of({{"prompt", prompt}, {"index", index}, {"id", id}, {"text", text}});
}

void GenerationTimings::add(const Generated& done) {
  for (const Answer& answer : done.answers) later += answer.tokens.size() - std::min<size_t>(answer.tokens.size(), 1);
  prefill_seconds += done.prefill_seconds;
  decode_seconds += done.decode_seconds;
  proposed += done.proposed_tokens;
  accepted += done.accepted_tokens;
}

void GenerationTimings::tell() const {
  std::fprintf(stderr, "first tokens after %.4f s, then %.2f tokens/s\n", prefill_seconds,
               later > 0 ? double(later) / decode_seconds : 0.0);
  if (!speculates) return;
  std::fprintf(stderr, "%lld tokens were proposed, %lld of them accepted\n", static_cast<long long>(proposed),
               static_cast<long long>(accepted));
}

}  // namespace braid
