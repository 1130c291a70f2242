// SPDX-License-Identifier: Apache-2.0
// Prompts with answers as the data of a run (data.kind = "examples").
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "data/text_examples.h"
#include "experiments/run_config.h"

namespace braid {

// The tokenizer and the form that a configuration asks for.
struct FineTuningForm {
  Tokenizer tokenizer;
  ChatTemplate chat;
  bool own_specials = false;
  std::optional<TokenId> end;
  std::optional<TokenId> padding;

  ExampleForm form(const DataConfig& data) const { return {tokenizer, chat, own_specials, data.apart, end}; }
};

// UsageError: no tokenizer, one with more tokens than the model knows, an end token asked for that there is not.
FineTuningForm open_form(const DataConfig& data, const ModelConfig& model);

struct FineTuningData {
  std::unique_ptr<Dataset> train, held_out;  // held_out is null where data.path is a single file
  std::string digest;                        // "crc32c:1a2b3c4d" of all training tokens
};

// UsageError names file and line.
FineTuningData open_fine_tuning(const RunConfig& config);

}  // namespace braid
