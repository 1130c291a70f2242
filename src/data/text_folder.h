// SPDX-License-Identifier: Apache-2.0
// A folder of text and its two sides, training and held-out. Whole files go to one side or the other, by a hash of
// their path, so that no held-out text was trained on and a file stays on its side when others come or go. In a folder
// so small that one side would stay empty, that side gets the file nearest to the border.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace braid {

struct TextFolderOptions {
  double held_out_fraction = 0.05;
  // Extensions that count as text; empty: every regular file.
  std::vector<std::string> extensions = {".py",  ".txt", ".md",   ".rst",  ".c",   ".h",
                                         ".cpp", ".cu",  ".toml", ".json", ".html"};
};

struct TextFile {
  std::string name;  // relative to the folder
  int64_t bytes = 0, changed = 0;
  double place = 0;  // in [0, 1), a hash of the name: held out when below the fraction
  bool held_out = false;
};

struct TextFolder {
  std::string path;
  std::vector<TextFile> files;  // sorted by name: the order does not depend on the filesystem
  std::string listing;          // digest: the same means the same shards
};

// What shards of a folder hold.
struct TextShardResult {
  int64_t files = 0, train_tokens = 0, held_out_tokens = 0;
  bool built = false;  // false: shards of the same files were there already
};

// Every file of text below a folder, by name; UsageError when the folder is missing or unreadable.
std::vector<TextFile> list_text(const std::string& folder, const TextFolderOptions& options);

// The same with sides. UsageError when it holds fewer than two files of text, or the share is none.
TextFolder open_text_folder(const std::string& folder, const TextFolderOptions& options);

// Reads a file in pieces of at most 1 MiB. UsageError where it cannot be read, Error where it is not as long as listed.
void read_text(const std::string& folder, const TextFile& file, const std::function<void(std::string_view)>& use);

// Whether a shard is there that was made from this listing.
bool is_shard_of(const std::string& path, const std::string& listing);

// UsageError.
void make_shard_folder(const std::string& path);

}  // namespace braid
