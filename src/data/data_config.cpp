// SPDX-License-Identifier: Apache-2.0
#include "data/data_config.h"

#include <filesystem>

#include "base/error.h"
#include "data/passkey_task.h"
#include "data/token_windows.h"

namespace braid {

void DataConfig::describe(ConfigSection& s) {
  s.choice(
      "kind", kind,
      {"incrementing", "bytes", "tokens", "copy", "induction", "modular_sum", "passkey", "needles", "examples"},
      "what samples are made of: incrementing, counting up from a random token; bytes, text byte by byte; tokens, "
      "shards as they are; copy, induction and modular_sum, generated tasks that need context; passkey, a key of "
      "five digits in a long text and the question for it; needles, texts with keys in sentences, made as [needles] "
      "says; examples, prompts with answers, "
      "one to a line of JSON");
  s.value("path", path,
          "kind = bytes: a folder of text, or of shards (train.h5 and held-out.h5); kind = tokens: the latter; kind = "
          "examples: a folder of train.jsonl and valid.jsonl, or one such file; else unused");
  s.value("held_out_fraction", held_out_fraction,
          "share of the text files kept for evaluation, where shards are made from text [1]", 0.0, 0.9);
  s.value("terms", modular_sum.terms, "modular_sum: how many of the last digits are added [tokens]", 1, 1 << 20);
  s.value("modulus", modular_sum.modulus, "modular_sum: digits are below it, and their sum is taken modulo it [1]", 2,
          1 << 20);
  s.value("tokenizer", tokenizer, "examples and needles: a file tokenizer.json; empty: the one in model.path");
  s.choice("format", format, {"raw", "alpaca", "chatml", "zephyr", "llama3", "model"},
           "examples and needles: how prompt and answer are put together; raw: nothing between them; model: as the "
           "chat template in "
           "model.path says");
  s.value("end_token", end_token, "examples and needles: the tokenizer's end token stands behind each answer");
  s.value(
      "apart", apart,
      "examples: prompt and answer are tokenised each by itself, so that an answer is asked for with the tokens that "
      "were trained");
  s.value("answers_only", answers_only, "examples: tokens of the prompt carry no loss");
  s.value("packs", packs, "examples: as many to a sample as fit into model.context, none seeing another");
}

bool holds_shards(const std::string& folder) { return std::filesystem::exists(folder + "/train.h5"); }

namespace {

std::unique_ptr<Dataset> open_shards(const DataShape& shape, Split split, const std::string& folder) {
  const std::string path = folder + (split == Split::train ? "/train.h5" : "/held-out.h5");
  auto shard = std::make_shared<TokenShard>(path);
  if (shard->info().vocabulary > shape.vocabulary) {
    throw UsageError(str(path, ": its vocabulary of ", shard->info().vocabulary,
                         " does not fit model.vocabulary = ", shape.vocabulary));
  }
  return std::make_unique<TokenWindows>(std::move(shard), path, shape.length, shape.seed,
                                        split == Split::train ? WindowOrder::shuffled : WindowOrder::sequential);
}

std::unique_ptr<Dataset> open_passkey(const DataShape& shape, Split split) {
  if (shape.vocabulary < passkey::vocabulary) {
    throw UsageError(str("model.vocabulary: passkey needs ", passkey::vocabulary, ", found ", shape.vocabulary));
  }
  if (shape.length < passkey::needle_tokens + passkey::question_tokens) {
    throw UsageError(str("model.context: passkey needs at least ", passkey::needle_tokens + passkey::question_tokens,
                         " tokens for key and question, found ", shape.length));
  }
  return std::make_unique<PasskeyTask>(PasskeyShape{shape.length - passkey::question_tokens, shape.seed, split, 0, {}});
}

}  // namespace

std::unique_ptr<Dataset> open_dataset(const DataConfig& config, const DataShape& shape, Split split,
                                      const std::string& shard_folder) {
  const RecallShape recall{shape.vocabulary, shape.length, shape.seed, split};
  if (config.kind == "copy") return std::make_unique<CopyTask>(recall);
  if (config.kind == "induction") return std::make_unique<InductionTask>(recall);
  if (config.kind == "modular_sum") return std::make_unique<ModularSumTask>(recall, config.modular_sum);
  if (config.kind == "passkey") return open_passkey(shape, split);
  if (config.reads_shards()) return open_shards(shape, split, shard_folder);
  throw UsageError(str("data.kind: \"", config.kind, "\" needs the model's generator and cannot be opened by itself"));
}

}  // namespace braid
