// SPDX-License-Identifier: Apache-2.0
#include "infer/answer.h"

#include <algorithm>

#include "base/error.h"

namespace braid {

void check_request(const GenerationRequest& request, int64_t vocabulary, int64_t context, const std::string& where,
                   int64_t first_position) {
  const auto is_known = [&](int64_t id) { return id >= 0 && id < vocabulary; };
  if (request.prompt.empty()) throw UsageError(where + "expected at least one token id");
  for (const int64_t id : request.prompt) {
    if (is_known(id)) continue;
    throw UsageError(str(where, "expected token ids from 0 to ", vocabulary - 1, ", found ", id));
  }
  for (const int64_t id : request.stop_ids) {
    if (request.min_tokens == 0 || is_known(id)) continue;
    throw UsageError(str(where, "stop id ", id, ": expected one from 0 to ", vocabulary - 1));
  }
  if (request.max_tokens < 0) throw UsageError(str(where, "expected 0 or more new tokens, found ", request.max_tokens));
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (request.max_tokens <= context - first_position - length) return;
  throw UsageError(str(where, length, " tokens and ", request.max_tokens, " new ones ",
                       first_position > 0 ? str("from position ", first_position, " on ") : "",
                       "are more than the model's context of ", context));
}

SamplingOptions sampling_of(const GenerationRequest& request) {
  SamplingOptions options = request.sampling;
  options.barred_for = request.min_tokens;
  options.barred = request.min_tokens > 0 ? request.stop_ids : std::vector<int64_t>{};
  return options;
}

const char* name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::none:
      return "none";
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
  }
  return "";
}

std::vector<int64_t> Answer::ids() const {
  std::vector<int64_t> ids;
  for (const SampledToken& token : tokens) ids.push_back(token.id);
  return ids;
}

GrowingAnswer::GrowingAnswer(const GenerationRequest& request, const Tokenizer* tokenizer)
    : max_tokens_(request.max_tokens),
      min_tokens_(request.min_tokens),
      stop_ids_(request.stop_ids),
      stops_(request.stop_strings) {
  if (tokenizer) decoder_.emplace(*tokenizer);
  if (!tokenizer && !request.stop_strings.empty()) throw UsageError("stop strings need a tokenizer");
  if (max_tokens_ == 0) answer_.reason = FinishReason::length;
}

std::string GrowingAnswer::filtered(const std::string& text) {
  const bool early = static_cast<int64_t>(answer_.tokens.size()) <= min_tokens_;
  return early ? text : stops_.push(text);
}

std::string GrowingAnswer::finish(FinishReason reason, std::string text) {
  if (decoder_ && !stops_.stopped()) text += filtered(decoder_->finish());
  text += stops_.finish();
  answer_.stop_string = stops_.matched();
  answer_.reason = stops_.stopped() ? FinishReason::stop : reason;
  return text;
}

std::string GrowingAnswer::push(SampledToken token) {
  const int64_t id = token.id;
  answer_.tokens.push_back(std::move(token));
  const bool is_stop = std::find(stop_ids_.begin(), stop_ids_.end(), id) != stop_ids_.end();
  std::string text;
  if (decoder_ && !is_stop) text = filtered(decoder_->push(static_cast<TokenId>(id)));
  if (is_stop) answer_.stop_id = id;
  if (is_stop || stops_.stopped()) {
    text = finish(FinishReason::stop, std::move(text));
  } else if (static_cast<int64_t>(answer_.tokens.size()) >= max_tokens_) {
    text = finish(FinishReason::length, std::move(text));
  }
  answer_.text += text;
  return text;
}

}  // namespace braid
