// SPDX-License-Identifier: Apache-2.0
#include "store/sealed_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "store/crc32c.h"

namespace braid {

namespace {

constexpr char magic[] = "braid-checkpoint";
constexpr size_t magic_bytes = 16, version_at = 16, seal_bytes_at = 20, length_at = 24, crc_at = 32, own_crc_at = 508;
constexpr size_t read_bytes = 1 << 20;

using Block = std::array<std::byte, seal_bytes>;

template <class Number>
void put(Block& block, size_t at, Number value) {
  std::memcpy(block.data() + at, &value, sizeof value);
}

template <class Number>
Number get(const Block& block, size_t at) {
  Number value;
  std::memcpy(&value, block.data() + at, sizeof value);
  return value;
}

}  // namespace

void write_seal(PosixFile& file, const Seal& seal) {
  Block block{};
  std::memcpy(block.data(), magic, magic_bytes);
  put(block, version_at, static_cast<uint32_t>(seal.version));
  put(block, seal_bytes_at, static_cast<uint32_t>(seal_bytes));
  put(block, length_at, static_cast<uint64_t>(seal.file_bytes));
  put(block, crc_at, seal.crc);
  put(block, own_crc_at, crc32c(block.data(), own_crc_at));
  file.write(block.data(), block.size(), 0);
}

Seal read_seal(const PosixFile& file) {
  const int64_t bytes = file.size();
  if (bytes < seal_bytes) throw Error(str(file.path(), ": ", bytes, " bytes are too few for a checkpoint file"));
  Block block{};
  file.read(block.data(), block.size(), 0);
  const bool whole = crc32c(block.data(), own_crc_at) == get<uint32_t>(block, own_crc_at);
  if (std::memcmp(block.data(), magic, magic_bytes) != 0) {
    throw Error(str(file.path(), ": not a checkpoint file of Braid, or its first bytes are damaged"));
  }
  if (!whole) throw Error(str(file.path(), ": damaged: the seal's own CRC-32C does not fit"));
  const Seal seal{get<uint32_t>(block, version_at), static_cast<int64_t>(get<uint64_t>(block, length_at)),
                  get<uint32_t>(block, crc_at)};
  if (seal.version > checkpoint_format_version) {
    throw UsageError(str(file.path(), ": format_version ", seal.version, " is newer than this program's ",
                    checkpoint_format_version));
  }
  if (seal.file_bytes != bytes) {
    throw Error(str(file.path(), ": damaged: ", bytes, " bytes long, ", seal.file_bytes, " were written"));
  }
  return seal;
}

uint32_t digest_of_range(const PosixFile& file, int64_t first, int64_t end) {
  std::vector<std::byte> buffer(static_cast<size_t>(std::min<int64_t>(read_bytes, std::max<int64_t>(end - first, 0))));
  uint32_t crc = 0;
  while (first < end) {
    const auto count = static_cast<size_t>(std::min<int64_t>(end - first, static_cast<int64_t>(buffer.size())));
    file.read(buffer.data(), count, first);
    crc = crc32c(buffer.data(), count, crc);
    first += static_cast<int64_t>(count);
  }
  return crc;
}

Seal verify_sealed_file(const std::string& path) {
  PosixFile file = PosixFile::open_to_read(path);
  const Seal seal = read_seal(file);
  file.expect_in_order();
  if (digest_of_range(file, seal_bytes, seal.file_bytes) != seal.crc) {
    throw Error(str(path, ": damaged: its CRC-32C is not the one that was written"));
  }
  return seal;
}

}  // namespace braid
