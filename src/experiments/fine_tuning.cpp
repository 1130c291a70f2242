// SPDX-License-Identifier: Apache-2.0
#include "experiments/fine_tuning.h"

#include <filesystem>

#include "base/error.h"
#include "store/crc32c.h"
#include "text/tokenizer_config.h"

namespace braid {

namespace {

std::string tokenizer_path(const DataConfig& data, const ModelConfig& model) {
  if (!data.tokenizer.empty()) return data.tokenizer;
  if (model.path.empty()) throw UsageError("data.tokenizer: expected a file tokenizer.json, since there is no model.path");
  return model.path + "/tokenizer.json";
}

std::string text_of(const Tokenizer& tokenizer, std::optional<TokenId> id) {
  return id ? tokenizer.id_to_token(*id).value_or("") : "";
}

ChatTemplate template_of(const DataConfig& data, const ModelConfig& model, const Tokenizer& tokenizer) {
  if (data.format == "model") {
    if (model.path.empty()) throw UsageError("data.format: \"model\" needs model.path, whose chat template it is");
    return ChatTemplate::from_tokenizer_config(model.path);
  }
  const SpecialTokenIds special = read_special_token_ids(tokenizer);
  return ChatTemplate::from_name(data.format, text_of(tokenizer, special.bos), text_of(tokenizer, special.eos));
}

TokenExample with_answer(const TextExample& example, const ExampleForm& form, size_t number, const std::string& path) {
  try {
    TokenExample tokens = tokenise(example.messages, form);
    const size_t size = tokens.ids.size();
    // A format that ends its turns by itself has the token twice.
    if (form.end && size > 1 && tokens.ids[size - 2] == *form.end) tokens.ids.pop_back();
    return tokens;
  } catch (const UsageError& problem) {
    throw UsageError(str(path, ": example ", number, ": ", problem.what()));
  }
}

std::vector<TokenExample> tokens_of(const std::string& path, const ExampleForm& form) {
  std::vector<TokenExample> all;
  for (const TextExample& example : read_text_examples(path)) all.push_back(with_answer(example, form, all.size() + 1, path));
  return all;
}

std::string digest_of(const std::vector<TokenExample>& examples) {
  uint32_t crc = 0;
  for (const TokenExample& example : examples) {
    crc = crc32c(example.ids.data(), example.ids.size() * sizeof example.ids.front(), crc);
    crc = crc32c(&example.answer, sizeof example.answer, crc);
  }
  return digest_text(crc);
}

std::unique_ptr<Dataset> make_set(const RunConfig& config, const FineTuningForm& form, std::vector<TokenExample> examples,
                                  bool shuffles, const std::string& path) {
  ExampleSetOptions options{config.model.context, config.data.packs, config.data.answers_only, shuffles,
                            form.padding.value_or(0), static_cast<uint64_t>(config.train.seed)};
  try {
    return std::make_unique<ExampleSet>(std::move(examples), config.model.vocabulary, options);
  } catch (const UsageError& problem) {
    throw UsageError(str(path, ": ", problem.what()));
  }
}

}  // namespace

FineTuningForm open_form(const DataConfig& data, const ModelConfig& model) {
  Tokenizer tokenizer = Tokenizer::from_file(tokenizer_path(data, model));
  if (tokenizer.vocabulary() > model.vocabulary) {
    throw UsageError(str(tokenizer.file(), ": its ", tokenizer.vocabulary(), " tokens do not fit model.vocabulary = ",
                         model.vocabulary));
  }
  FineTuningForm form{tokenizer, template_of(data, model, tokenizer), data.format != "raw" && data.format != "alpaca", {}, {}};
  if (data.end_token) {
    form.end = end_of_text(tokenizer);
    if (!form.end) throw UsageError(str(tokenizer.file(), ": data.end_token is on, but the tokenizer names no end token"));
  }
  const SpecialTokenIds special = read_special_token_ids(tokenizer);
  form.padding = special.pad ? special.pad : form.end;
  return form;
}

FineTuningData open_fine_tuning(const RunConfig& config) {
  const std::string& path = config.data.path;
  if (path.empty()) throw UsageError("data.path: expected a folder with train.jsonl, or one file of examples, found nothing");
  const FineTuningForm opened = open_form(config.data, config.model);
  const ExampleForm form = opened.form(config.data);
  const bool folder = std::filesystem::is_directory(path);
  const std::string train = folder ? path + "/train.jsonl" : path, valid = path + "/valid.jsonl";
  FineTuningData data;
  std::vector<TokenExample> examples = tokens_of(train, form);
  data.digest = digest_of(examples);
  data.train = make_set(config, opened, std::move(examples), true, train);
  if (folder && std::filesystem::exists(valid)) data.held_out = make_set(config, opened, tokens_of(valid, form), false, valid);
  return data;
}

}  // namespace braid
