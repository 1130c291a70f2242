// SPDX-License-Identifier: Apache-2.0
// From a folder of text to two token shards in a tokenizer's vocabulary: train.h5 and held-out.h5. Each file is a
// document, encoded without the special tokens that stand around a text; behind it comes the end-of-text token, where
// there is one. Tokens are uint16 where the vocabulary fits, else uint32.
#pragma once

#include <optional>
#include <string>

#include "data/text_folder.h"
#include "text/tokenizer.h"

namespace braid {

struct TextShardOptions {
  TextFolderOptions folder;
  std::optional<TokenId> end_of_text;
  int threads = 0;  // 0: one for each core
};

// UsageError when the folder is missing or unreadable or holds fewer than two files of text.
TextShardResult build_text_shards(const std::string& text_folder, const std::string& out_folder,
                                  const Tokenizer& tokenizer, const TextShardOptions& options);

}  // namespace braid
