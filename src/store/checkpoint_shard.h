// SPDX-License-Identifier: Apache-2.0
// One rank's file of a checkpoint, shard-RRR-of-NNN.h5: the slices of tensors that it holds, each a contiguous
// one-dimensional dataset under the tensor's name whose attributes say where it belongs and what its CRC-32C is.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "store/run_file.h"
#include "store/tensor_slice.h"

namespace braid {

// A slice and its elements in memory.
struct SliceData {
  TensorSlice slice;
  const std::byte* data = nullptr;
};

// A slice and where it lies.
struct StoredSlice {
  TensorSlice slice;
  int64_t shard = 0;
  int64_t offset = 0;  // of its first byte in the shard's file
  uint32_t crc = 0;    // CRC-32C of its bytes
};

// What a manifest says of a shard.
struct ShardRecord {
  std::string file;  // name within the checkpoint's folder
  int64_t bytes = 0;
  uint32_t crc = 0;  // of everything after the seal
  std::vector<StoredSlice> slices;
};

struct ShardName {
  int64_t index = 0, count = 1;
  std::string file() const;  // "shard-000-of-004.h5"
};

// Writes FOLDER/shard-RRR-of-NNN.h5, digests it on the way, seals it and makes it last (fsync). Nothing is left behind
// when it fails (Error). `attributes` go to the file's root.
ShardRecord write_shard(const std::string& folder, const ShardName& name, const RunAttributes& attributes,
                        std::span<const SliceData> slices);

// As one text and back: a rank tells the one that writes the manifest what it has written.
std::string to_text(const ShardRecord& record);
ShardRecord parse_shard_record(const std::string& text);

}  // namespace braid
