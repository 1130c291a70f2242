// SPDX-License-Identifier: Apache-2.0
#include "serve/prompt.h"

#include <algorithm>

#include "base/error.h"
#include "serve/json_word.h"
#include "serve/refusal.h"

namespace braid {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

[[noreturn]] void refuse_part(const std::string& field, const std::string& problem) {
  throw Refusal(400, str(field, ": ", problem), field, "invalid_value");
}

// A string, or a list of {"type": "text", "text": …}.
std::string content_text(const json& content, const std::string& field) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) refuse_part(field, "expected a string, or a list of parts");
  std::string text;
  for (const json& part : content) {
    const bool known =
        part.is_object() && is_word(part.value("type", json()), "text") && part.value("text", json()).is_string();
    if (!known) refuse_part(field, "expected parts of type text; images, sound and files are not supported");
    text += part["text"].get<std::string>();
  }
  return text;
}

std::string role_of(const json& message, const std::string& field) {
  const json role = message.value("role", json());
  for (const char* known : {"system", "user", "assistant"}) {
    if (is_word(role, known)) return known;
  }
  if (is_word(role, "developer")) return "system";
  if (is_one_of(role, {"tool", "function"})) refuse_part(field + ".role", "tools are not supported");
  refuse_part(field + ".role", "expected system, developer, user or assistant");
}

ordered_json checked_message(const json& message, const std::string& field) {
  if (!message.is_object()) refuse_part(field, "expected an object with role and content");
  if (message.contains("tool_calls") && !message["tool_calls"].is_null()) {
    refuse_part(field + ".tool_calls", "tools are not supported");
  }
  ordered_json checked = {{"role", role_of(message, field)}};
  checked["content"] = content_text(message.value("content", json()), field + ".content");
  return checked;
}

}  // namespace

std::string chat_text(const ServedModel& model, const json& messages, bool add_generation_prompt) {
  if (!model.chat) {
    throw Refusal(400, "this model has no chat template; ask /v1/completions, or serve it with --format", "messages",
                  "no_chat_template");
  }
  if (!messages.is_array() || messages.empty()) refuse_part("messages", "expected a list of at least one message");
  ordered_json checked = ordered_json::array();
  for (const json& message : messages) {
    checked.push_back(checked_message(message, str("messages[", checked.size(), "]")));
  }
  try {
    return model.chat->render(checked, add_generation_prompt);
  } catch (const UsageError& problem) {
    throw Refusal(400, problem.what(), "messages", "invalid_value");
  }
}

std::vector<int64_t> text_tokens(const ServedModel& model, const std::string& text, SpecialTokens special) {
  const std::vector<TokenId> tokens = model.tokenizer.encode(text, special);
  return {tokens.begin(), tokens.end()};
}

std::vector<int64_t> chat_tokens(const ServedModel& model, const json& messages, bool add_generation_prompt) {
  const SpecialTokens special = model.own_specials ? SpecialTokens::leave_out : SpecialTokens::add;
  return text_tokens(model, chat_text(model, messages, add_generation_prompt), special);
}

void check_prompt(const ServedModel& model, const RequestLimits& limits, size_t tokens, const std::string& field,
                  int64_t before) {
  if (tokens == 0) throw Refusal(400, str(field, ": expected a text of at least one token"), field, "invalid_value");
  const int64_t room = std::max<int64_t>(model.context - before - 1, 0);
  const int64_t most = limits.prompt_tokens > 0 ? std::min(limits.prompt_tokens, room) : room;
  if (static_cast<int64_t>(tokens) <= most) return;
  throw Refusal(400, str(field, ": ", tokens, " tokens are more than the ", most, " that a prompt may have here"),
                field, "context_length_exceeded");
}

int64_t answer_tokens(const ServedModel& model, size_t prompt_tokens, std::optional<int64_t> asked, int64_t otherwise,
                      int64_t before) {
  const int64_t room = model.context - before - static_cast<int64_t>(prompt_tokens);
  if (!asked) return std::min(otherwise, room);
  if (*asked <= room) return *asked;
  throw Refusal(400,
                str("max_tokens: the prompt's ", prompt_tokens, " tokens and ", *asked, " new ones ",
                    before > 0 ? str("from position ", before, " on ") : "", "are more than the model's context of ",
                    model.context),
                "max_tokens", "context_length_exceeded");
}

}  // namespace braid
