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

h5::Element element_of(int token_bytes) {
  return token_bytes == 1 ? h5::Element::uint8 : token_bytes == 2 ? h5::Element::uint16 : h5::Element::uint32;
}

void set_attributes(h5::File& file, const TokenShardInfo& info) {
  h5::set_attribute(file, "format", std::string("braid-tokens"));
  h5::set_attribute(file, "format_version", token_shard_version);
  h5::set_attribute(file, "vocabulary", info.vocabulary);
  h5::set_attribute(file, "token_count", info.token_count);
  h5::set_attribute(file, "tokenizer", info.tokenizer);
  h5::set_attribute(file, "split", info.split);
  h5::set_attribute(file, "source", info.source);
  h5::set_attribute(file, "listing", info.listing);
  h5::set_attribute(file, "crc32c", int64_t{info.crc});
}

void write_payload(const std::string& path, const void* data, size_t bytes, int64_t offset) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (descriptor < 0) throw Error(str(path, ": ", std::strerror(errno)));
  const auto* next = static_cast<const char*>(data);
  bool good = true;
  while (bytes > 0 && good) {
    const ssize_t written = pwrite(descriptor, next, bytes, offset);
    good = written > 0 || (written < 0 && errno == EINTR);
    if (written <= 0) continue;
    next += written;
    offset += written;
    bytes -= static_cast<size_t>(written);
  }
  const int problem = errno;
  good = good && fsync(descriptor) == 0;
  close(descriptor);
  if (!good) throw Error(str(path, ": ", std::strerror(problem)));
}

TokenShardInfo read_info(const h5::File& file, const std::string& path) {
  if (!h5::has_attribute(file, "format") || h5::text_attribute(file, "format") != "braid-tokens") {
    throw UsageError(str(path, ": is not a token shard (root attribute format is not \"braid-tokens\")"));
  }
  const int64_t version = h5::int_attribute(file, "format_version");
  if (version > token_shard_version) {
    throw UsageError(str(path, ": format_version ", version, " is newer than this braid's ", token_shard_version));
  }
  TokenShardInfo info;
  info.vocabulary = h5::int_attribute(file, "vocabulary");
  info.token_count = h5::int_attribute(file, "token_count");
  info.tokenizer = h5::text_attribute(file, "tokenizer");
  info.split = h5::text_attribute(file, "split");
  info.source = h5::text_attribute(file, "source");
  info.listing = h5::text_attribute(file, "listing");
  info.crc = static_cast<uint32_t>(h5::int_attribute(file, "crc32c"));
  const auto element = h5::Dataset::open(file, "/tokens").element();
  if (!element) throw UsageError(str(path, ": /tokens does not hold unsigned integers"));
  info.token_bytes = static_cast<int>(h5::element_bytes(*element));
  return info;
}

}  // namespace

void write_token_shard(const std::string& path, TokenShardInfo info, const void* tokens) {
  const std::string temporary = path + ".new";
  const size_t bytes = static_cast<size_t>(info.token_count) * static_cast<size_t>(info.token_bytes);
  info.crc = crc32c(tokens, bytes);
  int64_t offset = 0;
  {
    h5::silence();
    h5::File file = h5::File::create(temporary, h5::Exists::replace);
    set_attributes(file, info);
    h5::create_contiguous(file, "/tokens", element_of(info.token_bytes), info.token_count);
    offset = h5::dataset_offset(file, "/tokens");
  }
  write_payload(temporary, tokens, bytes, offset);
  std::filesystem::rename(temporary, path);
}

TokenShardInfo read_token_shard_info(const std::string& path) {
  if (!std::filesystem::exists(path)) throw UsageError(str(path, ": no such token shard"));
  h5::silence();
  try {
    return read_info(h5::File::open(path), path);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& problem) {
    throw UsageError(problem.what());
  }
}

TokenShard::TokenShard(const std::string& path) : path_(path), info_(read_token_shard_info(path)) {
  const int64_t offset = h5::dataset_offset(h5::File::open(path), "/tokens");
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status = {};
  if (descriptor < 0 || fstat(descriptor, &status) != 0) throw Error(str(path, ": ", std::strerror(errno)));
  mapped_bytes_ = static_cast<size_t>(status.st_size);
  const size_t needed = static_cast<size_t>(offset) + static_cast<size_t>(info_.token_count) * info_.token_bytes;
  if (needed <= mapped_bytes_) map_ = mmap(nullptr, mapped_bytes_, PROT_READ, MAP_SHARED, descriptor, 0);
  close(descriptor);
  if (needed > mapped_bytes_) throw UsageError(str(path, ": holds ", mapped_bytes_, " bytes, needs ", needed, ": it was cut off"));
  if (map_ == MAP_FAILED) throw Error(str(path, ": cannot be mapped: ", std::strerror(errno)));
  tokens_ = static_cast<const unsigned char*>(map_) + offset;
}

TokenShard::~TokenShard() { munmap(map_, mapped_bytes_); }

int64_t TokenShard::token(int64_t index) const {
  const unsigned char* at = tokens_ + index * info_.token_bytes;
  uint32_t value = 0;
  std::memcpy(&value, at, static_cast<size_t>(info_.token_bytes));  // little-endian, as the file is
  return value;
}

bool TokenShard::verify() const {
  return crc32c(tokens_, static_cast<size_t>(info_.token_count) * info_.token_bytes) == info_.crc;
}

}  // namespace braid
