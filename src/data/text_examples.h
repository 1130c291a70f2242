// SPDX-License-Identifier: Apache-2.0
// Fine-tuning examples as text: lines of JSON, put into the form that the model is to be asked in, as tokens.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/example_set.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace braid {

// Who says what, in order; the last one is the answer that is learned.
using Conversation = std::vector<std::pair<std::string, std::string>>;  // role, content

struct TextExample {
  Conversation messages;
  std::string category;  // "" where the file has none
};

// Lines {"messages": [{"role": "user", "content": …}, …, {"role": "assistant", "content": …}]}, or {"prompt": …,
// "completion": …}; an optional "category". Empty lines do not count. UsageError "FILE:LINE: …".
std::vector<TextExample> read_text_examples(const std::string& path);

// How an example becomes tokens.
struct ExampleForm {
  const Tokenizer& tokenizer;
  const ChatTemplate& chat;
  bool own_specials = false;   // the template writes what begins a text, so that the tokenizer must not
  bool apart = true;           // prompt and answer are tokenised each by itself, so that an evaluation sees the same tokens
  std::optional<TokenId> end;  // put behind the answer
};

// What the model is asked with, up to where its answer begins.
std::vector<TokenId> prompt_tokens(const Conversation& messages, const ExampleForm& form);
// UsageError: the template does not put the answer behind the prompt.
TokenExample tokenise(const Conversation& messages, const ExampleForm& form);

}  // namespace braid
