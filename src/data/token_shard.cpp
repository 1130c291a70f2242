// SPDX-License-Identifier: Apache-2.0
#include "data/token_shard.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "store/crc32c.h"
#include "store/h5.h"

namespace braid {

namespace {

struct OpenedShard {
  TokenShardInfo info;
  int64_t offset = 0;  // of the first token in the file, bytes
};

std::string optional_text(const h5::File& file, const std::string& name) {
  return h5::has_attribute(file, name) ? h5::text_attribute(file, name) : "";
}

void require_format(const h5::File& file, const std::string& path) {
  if (!h5::has_attribute(file, "format") || h5::text_attribute(file, "format") != "braid-tokens") {
    throw UsageError(str(path, ": is not a token shard (root attribute format is not \"braid-tokens\")"));
  }
  const int64_t version = h5::int_attribute(file, "format_version");
  if (version > token_shard_version) {
    throw UsageError(str(path, ": format_version ", version, " is newer than this braid's ", token_shard_version));
  }
}

// Shards may come from other programs: only widths that TokenShard::token can read are let through.
int token_bytes_of(const h5::Dataset& tokens, const std::string& path) {
  const auto element = tokens.element();
  const bool unsigned_integer =
      element == h5::Element::uint8 || element == h5::Element::uint16 || element == h5::Element::uint32;
  if (!unsigned_integer || tokens.shape().size() != 1) {
    throw UsageError(str(path, ": /tokens: expected one dimension of little-endian uint8, uint16 or uint32"));
  }
  return static_cast<int>(h5::element_bytes(*element));
}

OpenedShard read_shard(const h5::File& file, const std::string& path) {
  require_format(file, path);
  const h5::Dataset tokens = h5::Dataset::open(file, "tokens");
  TokenShardInfo info;
  info.token_bytes = token_bytes_of(tokens, path);
  info.vocabulary = h5::int_attribute(file, "vocabulary");
  info.token_count = h5::int_attribute(file, "token_count");
  info.tokenizer = h5::text_attribute(file, "tokenizer");
  info.split = h5::text_attribute(file, "split");
  info.source = optional_text(file, "source");
  info.listing = optional_text(file, "listing");
  info.crc = static_cast<uint32_t>(h5::int_attribute(file, "crc32c"));
  if (info.vocabulary < 1) throw UsageError(str(path, ": vocabulary: expected at least 1, found ", info.vocabulary));
  if (info.token_count < 1 || info.token_count != tokens.count()) {
    throw UsageError(str(path, ": token_count: expected the ", tokens.count(),
                         " elements of /tokens (at least 1), found ", info.token_count));
  }
  return {info, tokens.offset()};
}

OpenedShard open_shard(const std::string& path) {
  if (!std::filesystem::exists(path)) throw UsageError(str(path, ": no such token shard"));
  h5::silence();
  try {
    return read_shard(h5::File::open(path), path);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& problem) {
    throw UsageError(problem.what());
  }
}

}  // namespace

TokenShardInfo read_token_shard_info(const std::string& path) { return open_shard(path).info; }

TokenShard::TokenShard(const std::string& path) : path_(path) {
  const OpenedShard opened = open_shard(path);
  info_ = opened.info;
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw Error(str(path, ": ", std::strerror(errno)));
  struct stat status = {};
  const bool known = fstat(descriptor, &status) == 0;
  mapped_bytes_ = known ? static_cast<size_t>(status.st_size) : 0;
  const size_t needed = static_cast<size_t>(opened.offset) + static_cast<size_t>(info_.token_count) * info_.token_bytes;
  if (needed <= mapped_bytes_) map_ = mmap(nullptr, mapped_bytes_, PROT_READ, MAP_SHARED, descriptor, 0);
  const int problem = errno;
  close(descriptor);
  if (!known || map_ == MAP_FAILED) throw Error(str(path, ": cannot be mapped: ", std::strerror(problem)));
  if (!map_) throw UsageError(str(path, ": holds ", mapped_bytes_, " bytes, needs ", needed, ": it was cut off"));
  tokens_ = static_cast<const unsigned char*>(map_) + opened.offset;
}

TokenShard::~TokenShard() { munmap(map_, mapped_bytes_); }

int64_t TokenShard::token(int64_t index) const {
  const unsigned char* at = tokens_ + index * info_.token_bytes;
  uint32_t value = 0;
  std::memcpy(&value, at, static_cast<size_t>(info_.token_bytes));  // little-endian, as the file is
  if (value >= info_.vocabulary) {                                  // it would read past the embedding table
    throw UsageError(str(path_, ": token ", index, " is ", value, ", outside of its vocabulary of ", info_.vocabulary));
  }
  return value;
}

bool TokenShard::verify() const {
  return crc32c(tokens_, static_cast<size_t>(info_.token_count) * info_.token_bytes) == info_.crc;
}

}  // namespace braid
