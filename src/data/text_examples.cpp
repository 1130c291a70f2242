// SPDX-License-Identifier: Apache-2.0
#include "data/text_examples.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace braid {

namespace {

using Json = nlohmann::ordered_json;

std::string text_field(const Json& object, const char* name, const std::string& where) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_string()) throw UsageError(str(where, ": ", name, ": expected a text"));
  return found->get<std::string>();
}

Conversation conversation_of(const Json& line, const std::string& where) {
  if (!line.contains("messages")) {
    return {{"user", text_field(line, "prompt", where)}, {"assistant", text_field(line, "completion", where)}};
  }
  const Json& messages = line["messages"];
  if (!messages.is_array() || messages.size() < 2) throw UsageError(where + ": messages: expected a list of two or more");
  Conversation conversation;
  for (const Json& message : messages) {
    if (!message.is_object()) throw UsageError(where + ": messages: expected objects with role and content");
    conversation.emplace_back(text_field(message, "role", where), text_field(message, "content", where));
  }
  if (conversation.back().first != "assistant") throw UsageError(where + ": messages: expected the last one's role to be assistant");
  return conversation;
}

TextExample parse_line(const std::string& text, const std::string& where) {
  const Json line = Json::parse(text, nullptr, false);
  if (!line.is_object()) throw UsageError(where + ": expected a JSON object with messages, or with prompt and completion");
  TextExample example{conversation_of(line, where), ""};
  if (line.contains("category")) example.category = text_field(line, "category", where);
  return example;
}

std::string rendered(const Conversation& messages, size_t count, bool asks, const ChatTemplate& chat) {
  Json list = Json::array();
  for (size_t i = 0; i < count; ++i) list.push_back({{"role", messages[i].first}, {"content", messages[i].second}});
  return chat.render(list, asks);
}

std::string prompt_text(const Conversation& messages, const ChatTemplate& chat) {
  return rendered(messages, messages.size() - 1, true, chat);
}

// What the template puts behind the prompt: the answer, and perhaps what ends a turn.
std::string answer_text(const Conversation& messages, const std::string& prompt, const ChatTemplate& chat) {
  const std::string whole = rendered(messages, messages.size(), false, chat);
  if (!whole.starts_with(prompt) || whole.size() == prompt.size()) {
    throw UsageError("the chat template does not put the answer behind the prompt; another data.format is needed");
  }
  return whole.substr(prompt.size());
}

SpecialTokens specials_of(const ExampleForm& form) {
  return form.own_specials ? SpecialTokens::leave_out : SpecialTokens::add;
}

}  // namespace

std::vector<TextExample> read_text_examples(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw UsageError(path + ": cannot be read");
  std::vector<TextExample> examples;
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    examples.push_back(parse_line(line, str(path, ":", number)));
  }
  if (examples.empty()) throw UsageError(path + ": expected a line for each example, found none");
  return examples;
}

std::vector<TokenId> prompt_tokens(const Conversation& messages, const ExampleForm& form) {
  return form.tokenizer.encode(prompt_text(messages, form.chat), specials_of(form));
}

TokenExample tokenise(const Conversation& messages, const ExampleForm& form) {
  const std::string prompt = prompt_text(messages, form.chat), answer = answer_text(messages, prompt, form.chat);
  std::vector<TokenId> ids = form.tokenizer.encode(form.apart ? prompt : prompt + answer, specials_of(form));
  int64_t begin = static_cast<int64_t>(ids.size());
  if (form.apart) {
    for (const TokenId id : form.tokenizer.encode(answer, SpecialTokens::leave_out)) ids.push_back(id);
  } else {
    begin = std::min(begin - 1, static_cast<int64_t>(form.tokenizer.encode(prompt, specials_of(form)).size()));
  }
  if (form.end) ids.push_back(*form.end);
  return {{ids.begin(), ids.end()}, begin};
}

}  // namespace braid
