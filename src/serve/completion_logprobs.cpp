// SPDX-License-Identifier: Apache-2.0
#include "serve/completion_logprobs.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "serve/token_text.h"

namespace braid {

namespace {

using nlohmann::ordered_json;

ordered_json chat_token(const Tokenizer& tokenizer, int64_t id, double logprob) {
  const std::string bytes = token_bytes(tokenizer, id);
  ordered_json list = ordered_json::array();
  for (const unsigned char byte : bytes) list.push_back(byte);
  return {{"token", token_text(tokenizer, id)}, {"logprob", logprob}, {"bytes", list}};
}

size_t characters_of(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

ordered_json chat_logprobs(const Tokenizer& tokenizer, const std::vector<SampledToken>& tokens) {
  ordered_json content = ordered_json::array();
  for (const SampledToken& token : tokens) {
    ordered_json one = chat_token(tokenizer, token.id, token.logprob);
    one["top_logprobs"] = ordered_json::array();
    for (const auto& [id, logprob] : token.top) one["top_logprobs"].push_back(chat_token(tokenizer, id, logprob));
    content.push_back(std::move(one));
  }
  return {{"content", content}, {"refusal", nullptr}};
}

ordered_json text_logprobs(const Tokenizer& tokenizer, const std::vector<SampledToken>& tokens, size_t& offset) {
  ordered_json lists = {{"tokens", ordered_json::array()},
                        {"token_logprobs", ordered_json::array()},
                        {"top_logprobs", ordered_json::array()},
                        {"text_offset", ordered_json::array()}};
  for (const SampledToken& token : tokens) {
    const std::string text = token_text(tokenizer, token.id);
    ordered_json top = ordered_json::object();
    for (const auto& [id, logprob] : token.top) top[token_text(tokenizer, id)] = logprob;
    lists["tokens"].push_back(text);
    lists["token_logprobs"].push_back(token.logprob);
    lists["top_logprobs"].push_back(std::move(top));
    lists["text_offset"].push_back(offset);
    offset += characters_of(text);
  }
  return lists;
}

}  // namespace braid
