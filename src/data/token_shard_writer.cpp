// SPDX-License-Identifier: Apache-2.0
#include "data/token_shard_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "store/crc32c.h"

namespace braid {

namespace {

h5::Element element_of(int token_bytes) {
  if (token_bytes != 1 && token_bytes != 2 && token_bytes != 4) {
    throw Error(str("token shard: tokens of ", token_bytes, " bytes; expected 1, 2 or 4"));
  }
  return token_bytes == 1 ? h5::Element::uint8 : token_bytes == 2 ? h5::Element::uint16 : h5::Element::uint32;
}

void set_attributes(h5::File& file, const TokenShardInfo& info) {
  h5::set_attribute(file, "format", std::string("braid-tokens"));
  h5::set_attribute(file, "format_version", token_shard_version);
  h5::set_attribute(file, "vocabulary", info.vocabulary);
  h5::set_attribute(file, "dtype", str("uint", 8 * info.token_bytes));
  h5::set_attribute(file, "token_count", info.token_count);
  h5::set_attribute(file, "tokenizer", info.tokenizer);
  h5::set_attribute(file, "split", info.split);
  h5::set_attribute(file, "source", info.source);
  h5::set_attribute(file, "listing", info.listing);
}

void write_at(int descriptor, const char* data, size_t bytes, int64_t offset, const std::string& path) {
  while (bytes > 0) {
    const ssize_t written = pwrite(descriptor, data, bytes, offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) throw Error(str(path, ": ", std::strerror(errno)));
    data += written;
    offset += written;
    bytes -= static_cast<size_t>(written);
  }
}

void sync_file(const std::string& path) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  const bool good = descriptor >= 0 && fsync(descriptor) == 0;
  const int problem = errno;
  if (descriptor >= 0) close(descriptor);
  if (!good) throw Error(str(path, ": ", std::strerror(problem)));
}

}  // namespace

TokenShardWriter::TokenShardWriter(const std::string& path, const TokenShardInfo& info,
                                   const std::vector<int64_t>& documents)
    : path_(path), temporary_(path + ".new"), token_bytes_(info.token_bytes), left_(info.token_count) {
  const h5::Element element = element_of(info.token_bytes);
  if (left_ < 1) throw Error(str(path, ": a token shard holds at least one token"));
  try {
    file_ = h5::File::create(temporary_, h5::Exists::replace);
    set_attributes(file_, info);
    if (!documents.empty()) {
      const auto count = static_cast<int64_t>(documents.size());
      h5::create_contiguous(file_, "documents", h5::Element::int64, count).write(H5T_NATIVE_INT64, documents.data());
    }
    position_ = h5::create_contiguous(file_, "tokens", element, left_).offset();
  } catch (...) {  // no destructor runs for a constructor that threw
    std::error_code none;
    std::filesystem::remove(temporary_, none);
    throw;
  }
}

TokenShardWriter::~TokenShardWriter() {
  std::error_code none;
  if (!finished_) std::filesystem::remove(temporary_, none);
}

void TokenShardWriter::append(const void* tokens, int64_t count) {
  if (count > left_) throw Error(str(path_, ": ", count - left_, " tokens more than announced"));
  const size_t bytes = static_cast<size_t>(count * token_bytes_);
  write_at(file_.descriptor(), static_cast<const char*>(tokens), bytes, position_, temporary_);
  crc_ = crc32c(tokens, bytes, crc_);
  position_ += static_cast<int64_t>(bytes);
  left_ -= count;
}

void TokenShardWriter::finish() {
  if (left_ > 0) throw Error(str(path_, ": ", left_, " tokens fewer than announced"));
  h5::set_attribute(file_, "crc32c", int64_t{crc_});
  file_.close();
  sync_file(temporary_);
  std::error_code problem;
  std::filesystem::rename(temporary_, path_, problem);
  if (problem) throw Error(str(path_, ": ", problem.message()));
  finished_ = true;
}

}  // namespace braid
