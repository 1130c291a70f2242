// SPDX-License-Identifier: Apache-2.0
#include "serve/request_tokens.h"

#include <algorithm>

#include "serve/body_fields.h"
#include "serve/completion_request.h"
#include "serve/refusal.h"

namespace braid {

namespace {

using nlohmann::json;

constexpr int64_t token_bytes = 4;
constexpr int64_t turn_tokens = 8;  // of a message's frame

int64_t tokens_of_text(const json& text) {
  return 1 + static_cast<int64_t>(text.get_ref<const std::string&>().size()) / token_bytes;
}

// Of all strings and numbers inside: a text, ids, a conversation.
int64_t tokens_in(const json& value) {
  if (value.is_string()) return tokens_of_text(value);
  if (value.is_number()) return 1;
  int64_t sum = 0;
  if (value.is_structured()) {
    for (const json& inner : value) sum += tokens_in(inner);
  }
  return sum;
}

int64_t prompts_in(const json& prompt) {
  const bool several = prompt.is_array() && !prompt.empty() && !prompt.front().is_number();
  return several ? static_cast<int64_t>(prompt.size()) : 1;
}

int64_t number(const json& body, const char* field, int64_t otherwise, int64_t most) {
  const auto found = body.find(field);
  if (found == body.end() || !found->is_number_integer()) return otherwise;
  return found->is_number_unsigned() ? static_cast<int64_t>(std::min(found->get<uint64_t>(), uint64_t(most)))
                                     : std::clamp<int64_t>(found->get<int64_t>(), 0, most);
}

}  // namespace

RequestTokens request_tokens(const std::string& path, const std::string& body, int64_t context) {
  json object;
  try {
    object = parse_body(body);
  } catch (const Refusal&) {
    return {};
  }
  const json prompt = object.value("prompt", json()), messages = object.value("messages", json());
  const int64_t prompts = prompts_in(prompt);
  RequestTokens tokens;
  tokens.prompts = messages.is_array() ? tokens_in(messages) + turn_tokens * static_cast<int64_t>(messages.size())
                                       : tokens_in(prompt);
  const bool generates = path != "/tokenize" && path != "/detokenize";
  if (!generates) return tokens;
  const int64_t room = std::max<int64_t>(context - tokens.prompts / prompts, 0);
  const int64_t otherwise = messages.is_array() ? room : std::min(room, completion_tokens);
  int64_t most = number(object, "max_completion_tokens", -1, room);
  if (most < 0) most = number(object, "max_tokens", otherwise, room);
  tokens.answers = most * prompts * number(object, "n", 1, RequestLimits().answers);
  return tokens;
}

}  // namespace braid
