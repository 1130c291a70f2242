// SPDX-License-Identifier: Apache-2.0
// A file of tokens: HDF5 with one contiguous dataset /tokens of uint8, uint16 or uint32, which training maps into
// memory and h5py reads as an array. Root attributes: format "braid-tokens", format_version, vocabulary, dtype,
// token_count, tokenizer, split, source, crc32c and, for shards made from files, listing. /documents (int64), where
// present, holds the position of each document's first token. token_shard_writer.h makes such files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace braid {

constexpr int64_t token_shard_version = 1;

struct TokenShardInfo {
  int64_t vocabulary = 256, token_count = 0;
  int token_bytes = 1;                                                // 1, 2 or 4: unsigned little-endian
  std::string tokenizer = "bytes", split = "train", source, listing;  // listing: digest of what it was made from
  uint32_t crc = 0;                                                   // CRC-32C of the payload
};

// A shard mapped into memory. UsageError when it is not one, is newer than this program, or is shorter than it says.
class TokenShard {
 public:
  explicit TokenShard(const std::string& path);
  ~TokenShard();
  TokenShard(const TokenShard&) = delete;
  TokenShard& operator=(const TokenShard&) = delete;

  const TokenShardInfo& info() const { return info_; }
  int64_t token(int64_t index) const;  // UsageError when it lies outside of the vocabulary
  bool verify() const;                 // whether the payload still has its digest

 private:
  std::string path_;
  TokenShardInfo info_;
  void* map_ = nullptr;
  size_t mapped_bytes_ = 0;
  const unsigned char* tokens_ = nullptr;
};

// Only the attributes; for tools.
TokenShardInfo read_token_shard_info(const std::string& path);

}  // namespace braid
