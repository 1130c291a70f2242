// SPDX-License-Identifier: Apache-2.0
#include "data/text_folder.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/philox.h"
#include "data/token_shard.h"
#include "store/crc32c.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

bool is_text(const fs::path& path, const TextFolderOptions& options) {
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

void require_enough(const std::vector<TextFile>& files, const std::string& folder, const TextFolderOptions& options) {
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

std::string listing_digest(const std::vector<TextFile>& files, double fraction) {
  std::string listing = str(fraction);
  for (const TextFile& file : files) listing += str("\n", file.name, " ", file.bytes, " ", file.changed);
  return str(crc32c(listing.data(), listing.size()), "-", listing.size());
}

}  // namespace

std::vector<TextFile> list_text(const std::string& folder, const TextFolderOptions& options) {
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

TextFolder open_text_folder(const std::string& folder, const TextFolderOptions& options) {
  TextFolder opened{folder, list_text(folder, options), ""};
  require_enough(opened.files, folder, options);
  assign_sides(opened.files, options.held_out_fraction);
  opened.listing = listing_digest(opened.files, options.held_out_fraction);
  return opened;
}

void read_text(const std::string& folder, const TextFile& file, const std::function<void(std::string_view)>& use) {
  const std::string path = (fs::path(folder) / file.name).string();
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw UsageError(str(path, ": cannot be read: ", std::strerror(errno)));
  std::vector<char> piece(static_cast<size_t>(std::min<int64_t>(file.bytes + 1, 1 << 20)));
  for (int64_t left = file.bytes;;) {
    stream.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    const int64_t count = stream.gcount();
    if (count > left || (count == 0 && left > 0)) throw Error(str(path, ": changed while it was read; start again"));
    if (count == 0) return;
    use({piece.data(), static_cast<size_t>(count)});
    left -= count;
  }
}

bool is_shard_of(const std::string& path, const std::string& listing) {
  if (!fs::exists(path)) return false;
  try {
    return TokenShard(path).info().listing == listing;
  } catch (const Error&) {
    return false;  // a damaged shard is built again
  }
}

void make_shard_folder(const std::string& path) {
  std::error_code problem;
  fs::create_directories(path, problem);
  if (problem) throw UsageError(str(path, ": cannot be created: ", problem.message()));
}

}  // namespace braid
