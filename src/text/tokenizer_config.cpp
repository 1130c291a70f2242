// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_config.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/json_field.h"

namespace braid {

namespace {

// Written "</s>" or {"content": "</s>", …}.
std::optional<TokenId> read_token(const JsonField& config, const char* name, const Tokenizer& tokenizer) {
  const auto field = config.find(name);
  if (!field) return std::nullopt;
  const std::string& token = field->json().is_object() ? field->at("content").text() : field->text();
  const auto id = tokenizer.token_to_id(token);
  if (!id) field->refuse(str(in_quotes(token), " is no token of ", tokenizer.file()));
  return id;
}

}  // namespace

SpecialTokenIds read_special_token_ids(const Tokenizer& tokenizer) {
  const auto path = std::filesystem::path(tokenizer.file()).parent_path() / "tokenizer_config.json";
  if (!std::filesystem::exists(path)) return {};
  const Json json = read_json_file(path.string());
  const JsonField config(json, path.string());
  return {read_token(config, "bos_token", tokenizer), read_token(config, "eos_token", tokenizer),
          read_token(config, "pad_token", tokenizer), read_token(config, "unk_token", tokenizer)};
}

std::optional<TokenId> end_of_text(const Tokenizer& tokenizer) {
  if (const auto eos = read_special_token_ids(tokenizer).eos) return eos;
  for (const char* name : {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"}) {
    const auto id = tokenizer.token_to_id(name);
    if (id && tokenizer.is_special(*id)) return id;
  }
  return std::nullopt;
}

}  // namespace braid
