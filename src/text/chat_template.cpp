// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace braid {

namespace {

using Json = nlohmann::ordered_json;
using Tokens = std::map<std::string, std::string>;

struct NamedFormat {
  const char *source, *bos, *eos;
};

const std::map<std::string, NamedFormat>& formats() {
  static const std::map<std::string, NamedFormat> table = {
      {"chatml",
       {"{% for message in messages %}"
        "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
        "<|im_start|>", "<|im_end|>"}},
      {"zephyr",
       {"{% for message in messages %}"
        "{{ '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
        "<s>", "</s>"}},
      {"llama3",
       {"{{ bos_token }}"
        "{% for message in messages %}"
        "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
        "<|begin_of_text|>", "<|eot_id|>"}},
      {"alpaca",
       {"{% for message in messages %}"
        "{% if message.role == 'user' %}{{ '### Instruction:\\n' + message.content }}"
        "{% elif message.role == 'assistant' %}{{ '### Response:\\n' + message.content }}"
        "{% else %}{{ message.content }}{% endif %}"
        "{% if not loop.last or add_generation_prompt %}{{ '\\n\\n' }}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}",
        "", ""}},
      {"raw", {"{% for message in messages %}{{ message.content }}{% endfor %}", "", ""}}};
  return table;
}

std::string joined_names() {
  std::string text;
  for (const std::string& name : ChatTemplate::names()) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw UsageError(str(path.string(), ": cannot be read"));
  return {std::istreambuf_iterator<char>(file), {}};
}

Json tokenizer_config(const std::filesystem::path& path) {
  const Json config = Json::parse(content_of(path), nullptr, false);
  if (config.is_discarded()) throw UsageError(str(path.string(), ": expected JSON"));
  if (!config.is_object()) throw UsageError(str(path.string(), ": expected an object"));
  return config;
}

// bos_token and its like: a text, or an object with the text as `content`.
Tokens special_tokens_of(const Json& config, const std::string& path) {
  Tokens tokens;
  for (const auto& [name, value] : config.items()) {
    if (!name.ends_with("_token") || name.starts_with("add_") || value.is_null() || value.is_boolean()) continue;
    const bool wrapped = value.is_object() && value.contains("content");
    const Json& text = wrapped ? value["content"] : value;
    if (!text.is_string()) throw UsageError(str(path, ": ", name, ": expected a text or an object with content"));
    tokens[name] = text.get<std::string>();
  }
  return tokens;
}

// `chat_template` is one text, or a list of {"name": …, "template": …}.
std::string template_of(const Json& config, const std::string& path) {
  if (!config.contains("chat_template"))
    throw UsageError(str(path, ": expected a field chat_template, or a file chat_template.jinja beside it"));
  const Json& found = config["chat_template"];
  if (found.is_string()) return found.get<std::string>();
  for (const Json& entry : found.is_array() ? found : Json::array()) {
    const bool complete = entry.is_object() && entry.contains("name") && entry.contains("template");
    if (complete && entry["name"] == "default" && entry["template"].is_string())
      return entry["template"].get<std::string>();
  }
  throw UsageError(str(path, ": chat_template: expected a text, or a list with a template named default"));
}

}  // namespace

std::vector<std::string> ChatTemplate::names() {
  std::vector<std::string> names;
  for (const auto& [name, unused] : formats()) names.push_back(name);
  return names;
}

ChatTemplate ChatTemplate::from_name(const std::string& name, const std::string& bos, const std::string& eos) {
  const auto found = formats().find(name);
  if (found == formats().end()) throw UsageError(str("chat template ", name, ": expected one of ", joined_names()));
  const NamedFormat& format = found->second;
  return {format.source,
          name,
          {{"bos_token", bos.empty() ? format.bos : bos}, {"eos_token", eos.empty() ? format.eos : eos}}};
}

ChatTemplate ChatTemplate::from_tokenizer_config(const std::string& folder) {
  const std::filesystem::path config_path = std::filesystem::path(folder) / "tokenizer_config.json";
  const std::filesystem::path template_path = std::filesystem::path(folder) / "chat_template.jinja";
  const Json config = tokenizer_config(config_path);
  Tokens tokens = special_tokens_of(config, config_path.string());
  if (std::filesystem::exists(template_path))
    return {content_of(template_path), template_path.string(), std::move(tokens)};
  return {template_of(config, config_path.string()), config_path.string() + ": chat_template", std::move(tokens)};
}

ChatTemplate::ChatTemplate(const std::string& source, const std::string& name, Tokens special_tokens)
    : template_(source, name), name_(name), special_tokens_(std::move(special_tokens)) {}

std::string ChatTemplate::render(const Json& messages, bool add_generation_prompt) const {
  return render(messages, add_generation_prompt, Json::object());
}

std::string ChatTemplate::render(const Json& messages, bool add_generation_prompt, const Json& extra) const {
  if (!messages.is_array()) throw UsageError(str(name_, ": messages: expected a list"));
  for (const Json& message : messages) {
    if (!message.is_object()) throw UsageError(str(name_, ": messages: expected objects with role and content"));
  }
  Json variables = {{"messages", messages}, {"tools", nullptr}, {"documents", nullptr},
                    {"add_generation_prompt", add_generation_prompt}};
  for (const auto& [name, text] : special_tokens_) variables[name] = text;
  for (const auto& [name, value] : extra.items()) variables[name] = value;
  return template_.render(variables);
}

}  // namespace braid
