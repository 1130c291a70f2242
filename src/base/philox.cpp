// SPDX-License-Identifier: Apache-2.0
#include "base/philox.h"

#include <cmath>
#include <numbers>

#include "base/error.h"

namespace braid {

PhiloxCounter philox4x32_10(PhiloxCounter c, PhiloxKey k) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * c[0], b = uint64_t{0xCD9E8D57u} * c[2];
    c = {uint32_t(b >> 32) ^ c[1] ^ k[0], uint32_t(b), uint32_t(a >> 32) ^ c[3] ^ k[1], uint32_t(a)};
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
  return c;
}

namespace {

uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3ull;
  return hash;
}

uint32_t low(uint64_t x) { return uint32_t(x); }
uint32_t high(uint64_t x) { return uint32_t(x >> 32); }

uint32_t counter_word(int64_t value, const char* what) {
  if (value < 0 || value > 0xffffffffll) throw Error(str("random numbers: ", what, " ", value, " is not in [0, 2^32)"));
  return uint32_t(value);
}

double unit(uint32_t bits) { return double(bits) * 0x1p-32; }

}  // namespace

// Seed, purpose and name are mixed into the key by two philox calls, so that streams of different names are unrelated.
RandomStream::RandomStream(uint64_t seed, RandomPurpose purpose, std::string_view name, int64_t step, int64_t sample)
    : step_word_(counter_word(step, "step")), sample_word_(counter_word(sample, "sample")) {
  const uint64_t hash = fnv1a(name);
  const PhiloxCounter mixed = philox4x32_10({low(hash), high(hash), uint32_t(purpose), 0}, {low(seed), high(seed)});
  key_ = {mixed[0] ^ mixed[2], mixed[1] ^ mixed[3]};
}

uint32_t RandomStream::bits(uint64_t element) const {
  return philox4x32_10({low(element), high(element), step_word_, sample_word_}, key_)[0];
}

double RandomStream::uniform(uint64_t element) const { return unit(bits(element)); }

double RandomStream::normal(uint64_t element) const {
  const PhiloxCounter r = philox4x32_10({low(element), high(element), step_word_, sample_word_}, key_);
  const double radius = std::sqrt(-2.0 * std::log(1.0 - unit(r[0])));  // 1 - u is never 0
  return radius * std::cos(2.0 * std::numbers::pi * unit(r[1]));
}

int64_t RandomStream::below(uint64_t element, int64_t bound) const {
  if (bound < 1 || bound > 0xffffffffll) throw Error(str("random numbers: bound ", bound, " is not in [1, 2^32)"));
  const PhiloxCounter r = philox4x32_10({low(element), high(element), step_word_, sample_word_}, key_);
  const uint64_t wide = uint64_t{r[0]} << 32 | r[1];
  return int64_t((static_cast<unsigned __int128>(wide) * static_cast<uint64_t>(bound)) >> 64);
}

void RandomStream::fill_normal(float* out, uint64_t first, uint64_t count, double mean, double deviation) const {
  for (uint64_t i = 0; i < count; ++i) out[i] = float(mean + deviation * normal(first + i));
}

void RandomStream::fill_uniform(float* out, uint64_t first, uint64_t count, double low_end, double high_end) const {
  for (uint64_t i = 0; i < count; ++i) out[i] = float(low_end + (high_end - low_end) * uniform(first + i));
}

namespace {

// One bijection of [0, 2^(2 half)): four Feistel rounds keyed by philox.
uint64_t feistel(uint64_t value, int half, PhiloxKey key) {
  const uint64_t mask = (uint64_t{1} << half) - 1;
  uint64_t left = value >> half, right = value & mask;
  for (uint32_t round = 0; round < 4; ++round) {
    const PhiloxCounter r = philox4x32_10({low(right), high(right), round, 0x6f726465u}, key);
    const uint64_t next = left ^ ((uint64_t{r[0]} << 32 | r[1]) & mask);
    left = right;
    right = next;
  }
  return left << half | right;
}

}  // namespace

uint64_t permuted_index(uint64_t index, uint64_t size, uint64_t seed, uint64_t epoch) {
  if (index >= size) throw Error(str("order of samples: index ", index, " is not below ", size));
  int half = 1;
  while (half < 32 && (uint64_t{1} << (2 * half)) < size) ++half;
  const PhiloxCounter mixed = philox4x32_10({low(epoch), high(epoch), uint32_t(RandomPurpose::order), 0}, {low(seed), high(seed)});
  const PhiloxKey key = {mixed[0], mixed[1]};
  uint64_t value = index;
  do value = feistel(value, half, key);  // cycle walking: at most 4 tries on average
  while (value >= size);
  return value;
}

}  // namespace braid
