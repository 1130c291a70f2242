// SPDX-License-Identifier: Apache-2.0
// From messages to the text that a model was trained on, or is asked to continue. Formats: Hugging Face's chat
// templates, and five of Braid's own by name.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "text/jinja_template.h"

namespace braid {

class ChatTemplate {
 public:
  // chatml  SmolLM, Qwen: <|im_start|>role, content, <|im_end|>
  // zephyr  TinyLlama: <|role|>, content, the end token (</s> unless `eos` says otherwise)
  // llama3  Llama 3: the first token once (<|begin_of_text|> unless `bos` says otherwise), headers, trimmed content,
  //         <|eot_id|>
  // alpaca  ### Instruction: / ### Response:, as the public Engram experiment first trained with CUDA
  // raw     contents, nothing between them
  // UsageError for another name.
  static ChatTemplate from_name(const std::string& name, const std::string& bos = "", const std::string& eos = "");
  static std::vector<std::string> names();

  // A model's folder: chat_template.jinja, or `chat_template` of tokenizer_config.json (of several named templates the
  // one called default), and the special tokens of tokenizer_config.json. UsageError that names the file and the field.
  static ChatTemplate from_tokenizer_config(const std::string& folder);

  // A template's own text; `name` stands in messages. special_tokens: bos_token, eos_token, … → text.
  ChatTemplate(const std::string& source, const std::string& name, std::map<std::string, std::string> special_tokens);

  // `messages` is an array of objects, at least {"role": …, "content": …}. With add_generation_prompt the text ends
  // where the assistant's answer begins. `extra` is an object of more variables, such as tools. UsageError when
  // messages are none, and for what the template refuses.
  std::string render(const nlohmann::ordered_json& messages, bool add_generation_prompt) const;
  std::string render(const nlohmann::ordered_json& messages, bool add_generation_prompt,
                     const nlohmann::ordered_json& extra) const;

  const std::map<std::string, std::string>& special_tokens() const { return special_tokens_; }

 private:
  jinja::Template template_;
  std::string name_;
  std::map<std::string, std::string> special_tokens_;
};

}  // namespace braid
