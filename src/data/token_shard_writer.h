// SPDX-License-Identifier: Apache-2.0
// Writes a token shard piece by piece, so that a corpus need not fit into memory. The file grows under a temporary name
// and takes its own in finish(): a shard that exists is whole.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/token_shard.h"
#include "store/h5.h"

namespace braid {

class TokenShardWriter {
 public:
  // info.token_count is fixed from the start, because the payload is one block; info.crc is ignored. `documents`: the
  // position of each document's first token, or nothing.
  TokenShardWriter(const std::string& path, const TokenShardInfo& info, const std::vector<int64_t>& documents = {});
  ~TokenShardWriter();  // without finish(): nothing is left
  TokenShardWriter(const TokenShardWriter&) = delete;
  TokenShardWriter& operator=(const TokenShardWriter&) = delete;

  // The next `count` tokens of info.token_bytes each, little-endian. Error when they are more than was announced.
  void append(const void* tokens, int64_t count);
  void finish();  // Error when tokens are missing

 private:
  std::string path_, temporary_;
  h5::File file_;
  int64_t token_bytes_, left_;  // tokens still to come
  int64_t position_ = 0;        // in the file, bytes
  uint32_t crc_ = 0;
  bool finished_ = false;
};

}  // namespace braid
