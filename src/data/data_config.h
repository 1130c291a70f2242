// SPDX-License-Identifier: Apache-2.0
// The [data] table, and the datasets that need nothing but it.
#pragma once

#include <memory>
#include <string>

#include "base/config.h"
#include "data/dataset.h"
#include "data/recall_tasks.h"

namespace braid {

struct DataConfig {
  // incrementing | copy | induction | modular_sum: made up as they are read; bytes: text, byte by byte; tokens: shards as
  // they are; examples: prompts with answers.
  std::string kind = "incrementing";
  // bytes: a folder of text, or of train.h5 and held-out.h5; tokens: the latter; examples: a folder of train.jsonl and
  // valid.jsonl, or one file.
  std::string path;
  double held_out_fraction = 0.05;
  ModularSum modular_sum;  // keys terms and modulus
  // examples and needles:
  std::string tokenizer;        // tokenizer.json; "": the one in model.path
  std::string format = "raw";   // raw | alpaca | chatml | zephyr | llama3 | model: how prompt and answer are put together
  bool end_token = true;        // behind each answer, unless the format puts it there
  bool apart = true;            // prompt and answer are tokenised each by itself
  bool answers_only = true;     // prompts carry no loss
  bool packs = false;           // several examples to a sample

  void describe(ConfigSection& section);
  bool reads_shards() const { return kind == "bytes" || kind == "tokens"; }
};

// Shape and seed come from the model and the run.
struct DataShape {
  int64_t length = 0, vocabulary = 0;
  uint64_t seed = 0;
};

// copy, induction, modular_sum, bytes and tokens; `shard_folder` holds train.h5 and held-out.h5. UsageError.
std::unique_ptr<Dataset> open_dataset(const DataConfig& config, const DataShape& shape, Split split,
                                      const std::string& shard_folder);

// Whether data.path is already a folder of shards.
bool holds_shards(const std::string& folder);

}  // namespace braid
