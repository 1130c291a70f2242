// SPDX-License-Identifier: Apache-2.0
// A file of tokens: HDF5 with one contiguous dataset /tokens, which training maps into memory and h5py reads as an array.
// Root attributes: format "braid-tokens", format_version, vocabulary, token_count, tokenizer, split, source, crc32c.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace braid {

constexpr int64_t token_shard_version = 1;

struct TokenShardInfo {
  int64_t vocabulary = 256, token_count = 0;
  int token_bytes = 1;              // 1, 2 or 4: unsigned little-endian
  std::string tokenizer = "bytes", split = "train", source, listing;  // listing: digest of what it was made from
  uint32_t crc = 0;                 // CRC-32C of the payload
};

// Writes a whole shard under a temporary name and renames it. `tokens` holds token_count * token_bytes bytes.
void write_token_shard(const std::string& path, TokenShardInfo info, const void* tokens);

// A shard mapped into memory. UsageError when it is not one, is newer than this program, or is shorter than it says.
class TokenShard {
 public:
  explicit TokenShard(const std::string& path);
  ~TokenShard();
  TokenShard(const TokenShard&) = delete;
  TokenShard& operator=(const TokenShard&) = delete;

  const TokenShardInfo& info() const { return info_; }
  int64_t token(int64_t index) const;
  bool verify() const;  // whether the payload still has its digest

 private:
  std::string path_;
  TokenShardInfo info_;
  void* map_ = nullptr;
  size_t mapped_bytes_ = 0;
  const unsigned char* tokens_ = nullptr;
};

// Only the attributes; for tools and for deciding whether to build again.
TokenShardInfo read_token_shard_info(const std::string& path);

}  // namespace braid
