// SPDX-License-Identifier: Apache-2.0
#include "data/byte_shards.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "base/error.h"
#include "base/philox.h"
#include "data/token_shard_writer.h"
#include "store/crc32c.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

struct TextFile {
  std::string name;  // relative to the folder
  int64_t bytes = 0, changed = 0;
  double place = 0;  // in [0, 1), a hash of the name: held out when below the fraction
  bool held_out = false;
};

bool is_text(const fs::path& path, const ByteShardOptions& options) {
  const auto& wanted = options.extensions;
  return wanted.empty() || std::find(wanted.begin(), wanted.end(), path.extension().string()) != wanted.end();
}

TextFile describe(const fs::directory_entry& entry, const std::string& folder) {
  TextFile file;
  file.name = entry.path().lexically_relative(folder).string();
  file.bytes = static_cast<int64_t>(entry.file_size());
  file.changed = entry.last_write_time().time_since_epoch().count();
  file.place = RandomStream(0, RandomPurpose::order, file.name).uniform(0);
  return file;
}

// Sorted by name: the order does not depend on the filesystem.
std::vector<TextFile> list_text(const std::string& folder, const ByteShardOptions& options) {
  if (!fs::is_directory(folder)) throw UsageError(str(folder, ": no such folder of text"));
  std::vector<TextFile> files;
  try {
    const auto skip = fs::directory_options::skip_permission_denied;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder, skip)) {
      if (!entry.is_symlink() && entry.is_regular_file() && entry.file_size() > 0 && is_text(entry.path(), options)) {
        files.push_back(describe(entry, folder));
      }
    }
  } catch (const fs::filesystem_error& problem) {
    throw UsageError(str(folder, ": cannot be read: ", problem.code().message()));
  }
  std::sort(files.begin(), files.end(), [](const TextFile& a, const TextFile& b) { return a.name < b.name; });
  return files;
}

void require_enough(const std::vector<TextFile>& files, const std::string& folder, const ByteShardOptions& options) {
  const double fraction = options.held_out_fraction;
  if (!(fraction > 0 && fraction < 1)) {
    throw UsageError(str("held_out_fraction: expected a share above 0 and below 1, found ", fraction));
  }
  const std::string looked_for = options.extensions.empty() ? "any file" : options.extensions.front() + " and similar";
  if (files.empty()) throw UsageError(str(folder, ": holds no text files (looked for ", looked_for, ")"));
  if (files.size() == 1) {
    throw UsageError(str(folder, ": holds one text file, ", files[0].name,
                         "; training and held-out text must be different files: cut it into two or more"));
  }
}

// Needs two files or more.
void assign_sides(std::vector<TextFile>& files, double fraction) {
  for (TextFile& file : files) file.held_out = file.place < fraction;
  const auto by_place = [](const TextFile& a, const TextFile& b) { return a.place < b.place; };
  const auto [first, last] = std::minmax_element(files.begin(), files.end(), by_place);
  first->held_out = true;
  last->held_out = false;
}

// The same digest means the same shards.
std::string listing_digest(const std::vector<TextFile>& files, double fraction) {
  std::string listing = str(fraction);
  for (const TextFile& file : files) listing += str("\n", file.name, " ", file.bytes, " ", file.changed);
  return str(crc32c(listing.data(), listing.size()), "-", listing.size());
}

bool up_to_date(const std::string& path, const std::string& listing) {
  if (!fs::exists(path)) return false;
  try {
    return TokenShard(path).info().listing == listing;
  } catch (const Error&) {
    return false;  // a damaged shard is built again
  }
}

// The shard's size, its digest and its documents rest on the size that was listed.
void append_file(const fs::path& path, int64_t listed_bytes, TokenShardWriter& writer) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw UsageError(str(path.string(), ": cannot be read: ", std::strerror(errno)));
  std::vector<char> piece(static_cast<size_t>(std::min<int64_t>(listed_bytes + 1, 1 << 20)));
  for (int64_t left = listed_bytes;;) {
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    const int64_t count = file.gcount();
    if (count > left || (count == 0 && left > 0)) {
      throw Error(str(path.string(), ": changed while it was read; start again"));
    }
    if (count == 0) return;
    writer.append(piece.data(), count);
    left -= count;
  }
}

int64_t tokens_of(const std::vector<TextFile>& files, bool held_out) {
  int64_t bytes = 0;
  for (const TextFile& file : files) bytes += file.held_out == held_out ? file.bytes : 0;
  return bytes;
}

// All of one side's text, not yet under its final name.
std::unique_ptr<TokenShardWriter> write_side(const std::string& path, const std::string& folder,
                                             const std::vector<TextFile>& files, bool held_out, TokenShardInfo info) {
  info.token_count = tokens_of(files, held_out);
  info.split = held_out ? "held-out" : "train";
  std::vector<int64_t> documents;
  int64_t start = 0;
  for (const TextFile& file : files) {
    if (file.held_out != held_out) continue;
    documents.push_back(start);
    start += file.bytes;
  }
  auto writer = std::make_unique<TokenShardWriter>(path, info, documents);
  for (const TextFile& file : files) {
    if (file.held_out == held_out) append_file(fs::path(folder) / file.name, file.bytes, *writer);
  }
  return writer;
}

}  // namespace

ByteShardResult build_byte_shards(const std::string& text_folder, const std::string& out_folder,
                                  const ByteShardOptions& options) {
  std::vector<TextFile> files = list_text(text_folder, options);
  require_enough(files, text_folder, options);
  assign_sides(files, options.held_out_fraction);
  TokenShardInfo info;
  info.source = fs::path(text_folder).filename().string();
  info.listing = listing_digest(files, options.held_out_fraction);
  const std::string train_path = out_folder + "/train.h5", held_out_path = out_folder + "/held-out.h5";
  ByteShardResult result{static_cast<int64_t>(files.size()), tokens_of(files, false), tokens_of(files, true), false};
  if (up_to_date(train_path, info.listing) && up_to_date(held_out_path, info.listing)) return result;
  std::error_code problem;
  fs::create_directories(out_folder, problem);
  if (problem) throw UsageError(str(out_folder, ": cannot be created: ", problem.message()));
  const auto train = write_side(train_path, text_folder, files, false, info);
  const auto held_out = write_side(held_out_path, text_folder, files, true, info);
  held_out->finish();  // before train.h5, by which a folder of shards is known
  train->finish();
  result.built = true;
  return result;
}

}  // namespace braid
