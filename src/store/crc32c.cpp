// SPDX-License-Identifier: Apache-2.0
// CRC-32C by the SSE4.2 instruction or by table. The instruction has 3 cycles latency and 1 cycle throughput: one chain
// runs at 8 bytes per 3 cycles, so large blocks go in three chains whose digests are combined.
#include "store/crc32c.h"

#include <array>
#include <cstdio>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace braid {
namespace {

using Table = std::array<uint32_t, 256>;

constexpr uint32_t polynomial = 0x82f63b78;  // Castagnoli, bits reversed

constexpr Table make_table() {
  Table table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? polynomial : 0);
    table[byte] = value;
  }
  return table;
}

constexpr Table table = make_table();

// Digests are polynomials over GF(2), bit 31 for x^0, modulo the Castagnoli polynomial: appending n zero bytes to what
// was digested multiplies by x^(8 n).
constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 0x80000000u; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = (b >> 1) ^ (b & 1 ? polynomial : 0);
  }
  return product;
}

// x^(8 bytes) by repeated squaring.
constexpr uint32_t power_of_x(uint64_t bytes) {
  uint32_t result = 0x80000000u, square = 0x00800000u;  // x^0 and x^8
  for (; bytes != 0; bytes >>= 1) {
    if (bytes & 1) result = multiply(result, square);
    square = multiply(square, square);
  }
  return result;
}

#if defined(__x86_64__)
constexpr size_t chain_bytes = 16 << 10;
constexpr uint32_t past_one_chain = power_of_x(chain_bytes);

inline uint64_t word_at(const unsigned char* data) {
  uint64_t word;
  std::memcpy(&word, data, sizeof word);
  return word;
}

// Three chains side by side over 3 * chain_bytes. States, not digests: not inverted at either end.
__attribute__((target("sse4.2"))) uint64_t three_chains(const unsigned char* data, uint64_t state) {
  uint64_t a = state, b = 0, c = 0;
  for (size_t at = 0; at < chain_bytes; at += 8) {
    a = _mm_crc32_u64(a, word_at(data + at));
    b = _mm_crc32_u64(b, word_at(data + chain_bytes + at));
    c = _mm_crc32_u64(c, word_at(data + 2 * chain_bytes + at));
  }
  const uint32_t ab = multiply(static_cast<uint32_t>(a), past_one_chain) ^ static_cast<uint32_t>(b);
  return multiply(ab, past_one_chain) ^ static_cast<uint32_t>(c);
}

__attribute__((target("sse4.2"))) uint32_t by_instruction(const unsigned char* data, size_t bytes, uint32_t seed) {
  uint64_t state = static_cast<uint32_t>(~seed);
  for (; bytes >= 3 * chain_bytes; bytes -= 3 * chain_bytes, data += 3 * chain_bytes) state = three_chains(data, state);
  for (; bytes >= 8; bytes -= 8, data += 8) state = _mm_crc32_u64(state, word_at(data));
  auto narrow = static_cast<uint32_t>(state);
  for (; bytes > 0; --bytes, ++data) narrow = _mm_crc32_u8(narrow, *data);
  return ~narrow;
}
#endif

}  // namespace

uint32_t crc32c_table(const void* data, size_t bytes, uint32_t seed) {
  auto* next = static_cast<const unsigned char*>(data);
  uint32_t state = ~seed;
  for (; bytes > 0; --bytes, ++next) state = table[(state ^ *next) & 0xff] ^ (state >> 8);
  return ~state;
}

uint32_t crc32c_hardware(const void* data, size_t bytes, uint32_t seed) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) return by_instruction(static_cast<const unsigned char*>(data), bytes, seed);
#endif
  return crc32c_table(data, bytes, seed);
}

uint32_t crc32c_combine(uint32_t of_a, uint32_t of_b, uint64_t bytes_of_b) {
  return multiply(of_a, power_of_x(bytes_of_b)) ^ of_b;
}

uint32_t crc32c(const void* data, size_t bytes, uint32_t seed) { return crc32c_hardware(data, bytes, seed); }

std::string digest_text(uint32_t crc) {
  char text[24];
  std::snprintf(text, sizeof text, "crc32c:%08x", crc);
  return text;
}

}  // namespace braid
