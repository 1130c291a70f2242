// SPDX-License-Identifier: Apache-2.0
// Counter-based random numbers, Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11).
// A number is a pure function of (seed, purpose, name, element, step, sample): a shard draws only its own elements, and
// any layout, any recomputation and any thread count draw the same.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace braid {

using PhiloxCounter = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;
PhiloxCounter philox4x32_10(PhiloxCounter counter, PhiloxKey key);

enum class RandomPurpose : uint32_t { initialise = 1, order = 2, task = 3, dropout = 4, sampling = 5 };

// One stream of numbers, addressed by element; copying is free.
class RandomStream {
 public:
  RandomStream(uint64_t seed, RandomPurpose purpose, std::string_view name, int64_t step = 0, int64_t sample = 0);
  PhiloxKey key() const { return key_; }  // for kernels that draw by themselves
  uint32_t bits(uint64_t element) const;
  double uniform(uint64_t element) const;                      // [0, 1), 32 bits
  double normal(uint64_t element) const;                       // mean 0, variance 1 (Box-Muller on this element's pair)
  int64_t below(uint64_t element, int64_t bound) const;        // [0, bound), bias below 2^-31 for bound < 2^32
  void fill_normal(float* out, uint64_t first, uint64_t count, double mean, double deviation) const;
  void fill_uniform(float* out, uint64_t first, uint64_t count, double low, double high) const;

 private:
  PhiloxKey key_;
  uint32_t step_word_, sample_word_;
};

// A bijection of [0, size) keyed by (seed, epoch): the order of samples, O(1) memory (Feistel network over philox with
// cycle walking). Same on every compiler and world size.
uint64_t permuted_index(uint64_t index, uint64_t size, uint64_t seed, uint64_t epoch);

}  // namespace braid
