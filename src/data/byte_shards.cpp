// SPDX-License-Identifier: Apache-2.0
#include "data/byte_shards.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/philox.h"
#include "data/token_shard.h"
#include "store/crc32c.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

bool is_text(const fs::path& path, const ByteShardOptions& options) {
  const auto& wanted = options.extensions;
  return wanted.empty() || std::find(wanted.begin(), wanted.end(), path.extension().string()) != wanted.end();
}

// Relative paths, sorted: the order does not depend on the filesystem.
std::vector<std::string> list_text(const std::string& folder, const ByteShardOptions& options) {
  std::error_code problem;
  std::vector<std::string> files;
  const auto skip = fs::directory_options::skip_permission_denied;
  for (auto it = fs::recursive_directory_iterator(folder, skip, problem); !problem && it != fs::end(it); it.increment(problem)) {
    std::error_code none;
    if (it->is_regular_file(none) && !it->is_symlink(none) && it->file_size(none) > 0 && is_text(it->path(), options)) {
      files.push_back(fs::relative(it->path(), folder).string());
    }
  }
  if (problem) throw UsageError(str(folder, ": cannot be read: ", problem.message()));
  if (files.empty()) throw UsageError(str(folder, ": holds no text files (looked for ", options.extensions.empty() ? "any file" : options.extensions.front() + " and similar", ")"));
  std::sort(files.begin(), files.end());
  return files;
}

bool held_out(const std::string& file, double fraction) {
  return RandomStream(0, RandomPurpose::order, file).uniform(0) < fraction;
}

// Names and sizes of all files and how they were split: the same digest means the same shards.
std::string listing_digest(const std::string& folder, const std::vector<std::string>& files, double fraction) {
  std::string listing = str(fraction);
  for (const std::string& file : files) {
    const fs::path path = fs::path(folder) / file;
    listing += str("\n", file, " ", fs::file_size(path), " ", fs::last_write_time(path).time_since_epoch().count());
  }
  return str(crc32c(listing.data(), listing.size()), "-", listing.size());
}

void append_file(const fs::path& path, std::string& bytes) {
  std::ifstream file(path, std::ios::binary);
  bytes.append(std::istreambuf_iterator<char>(file), {});
}

bool up_to_date(const std::string& path, const std::string& listing, int64_t& tokens) {
  if (!fs::exists(path)) return false;
  try {
    const TokenShardInfo info = read_token_shard_info(path);
    tokens = info.token_count;
    return info.listing == listing;
  } catch (const Error&) {
    return false;  // a damaged shard is built again
  }
}

void write_split(const std::string& path, const std::string& split, const std::string& source, const std::string& listing,
                 const std::string& bytes) {
  if (bytes.empty()) throw UsageError(str(source, ": no file falls into the ", split, " part; change data.held_out_fraction"));
  TokenShardInfo info;
  info.token_count = static_cast<int64_t>(bytes.size());
  info.split = split;
  info.source = fs::path(source).filename().string();
  info.listing = listing;
  write_token_shard(path, info, bytes.data());
}

}  // namespace

ByteShardResult build_byte_shards(const std::string& text_folder, const std::string& out_folder,
                                  const ByteShardOptions& options) {
  if (!fs::is_directory(text_folder)) throw UsageError(str(text_folder, ": no such folder of text"));
  const std::vector<std::string> files = list_text(text_folder, options);
  const std::string listing = listing_digest(text_folder, files, options.held_out_fraction);
  const std::string train_path = out_folder + "/train.h5", held_out_path = out_folder + "/held-out.h5";
  ByteShardResult result{static_cast<int64_t>(files.size()), 0, 0, false};
  if (up_to_date(train_path, listing, result.train_tokens) && up_to_date(held_out_path, listing, result.held_out_tokens)) {
    return result;
  }
  std::string train, rest;
  for (const std::string& file : files) {
    append_file(fs::path(text_folder) / file, held_out(file, options.held_out_fraction) ? rest : train);
  }
  std::error_code problem;
  fs::create_directories(out_folder, problem);
  if (problem) throw UsageError(str(out_folder, ": cannot be created: ", problem.message()));
  write_split(train_path, "train", text_folder, listing, train);
  write_split(held_out_path, "held-out", text_folder, listing, rest);
  return {result.files, static_cast<int64_t>(train.size()), static_cast<int64_t>(rest.size()), true};
}

}  // namespace braid
