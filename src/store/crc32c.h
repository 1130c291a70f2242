// SPDX-License-Identifier: Apache-2.0
// CRC-32C (Castagnoli, RFC 3720 §12.1), the digest of token shards and checkpoint slices. It uses the SSE4.2
// instruction where the processor has it and a table elsewhere; both give the same number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace braid {

// The digest of `bytes` bytes; pass the digest of what came before as `seed` to continue over several pieces.
uint32_t crc32c(const void* data, size_t bytes, uint32_t seed = 0);

// "crc32c:1a2b3c4d", as attributes hold a digest.
std::string digest_text(uint32_t crc);

// The digest of A followed by B from the digests of both, without their bytes.
uint32_t crc32c_combine(uint32_t of_a, uint32_t of_b, uint64_t bytes_of_b);

// The two ways by themselves, for tests. crc32c_hardware falls back to the table without SSE4.2.
uint32_t crc32c_table(const void* data, size_t bytes, uint32_t seed = 0);
uint32_t crc32c_hardware(const void* data, size_t bytes, uint32_t seed = 0);

}  // namespace braid
