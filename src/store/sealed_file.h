// SPDX-License-Identifier: Apache-2.0
// The seal of a checkpoint's files: 512 bytes in front of HDF5's own (its user block) that say how long the file is and
// what its digest is, so that any flipped bit or missing byte, HDF5's metadata included, is found before HDF5 opens it.
// (Digests of the payload alone miss flips in the metadata, which HDF5 1.10 mostly follows without noticing.)
//
// Bytes, little-endian: 0 magic "braid-checkpoint", 16 format version u32, 20 bytes of the seal u32 (512), 24 bytes of
// the file u64, 32 CRC-32C of all that follows the seal u32, 36 zeros, 508 CRC-32C of bytes 0 to 507 u32.
#pragma once

#include <cstdint>
#include <string>

#include "store/posix_file.h"

namespace braid {

inline constexpr int64_t checkpoint_format_version = 1;
inline constexpr int64_t seal_bytes = 512;

struct Seal {
  int64_t version = checkpoint_format_version;
  int64_t file_bytes = 0;
  uint32_t crc = 0;  // of everything after the seal
};

void write_seal(PosixFile& file, const Seal& seal);
// Error: not a checkpoint file, a damaged seal, another length than the seal says. UsageError: a newer version.
Seal read_seal(const PosixFile& file);
// The same, then reads the whole file and compares its digest.
Seal verify_sealed_file(const std::string& path);

// The digest of bytes [first, end) of a file.
uint32_t digest_of_range(const PosixFile& file, int64_t first, int64_t end);

}  // namespace braid
