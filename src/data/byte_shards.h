// SPDX-License-Identifier: Apache-2.0
// From a folder of text to two token shards of its bytes: train.h5 and held-out.h5. Whole files go to one side or the
// other, by a hash of their path, so that no held-out text was trained on and a file stays on its side when others come
// or go. In a folder so small that one side would stay empty, that side gets the file nearest to the border.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace braid {

struct ByteShardOptions {
  double held_out_fraction = 0.05;
  // Extensions that count as text; empty: every regular file.
  std::vector<std::string> extensions = {".py",  ".txt", ".md",   ".rst",  ".c",   ".h",
                                         ".cpp", ".cu",  ".toml", ".json", ".html"};
};

struct ByteShardResult {
  int64_t files = 0, train_tokens = 0, held_out_tokens = 0;
  bool built = false;  // false: shards of the same files were there already
};

// UsageError when the folder is missing or unreadable or holds fewer than two files of text.
ByteShardResult build_byte_shards(const std::string& text_folder, const std::string& out_folder,
                                  const ByteShardOptions& options);

}  // namespace braid
