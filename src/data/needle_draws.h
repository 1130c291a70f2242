// SPDX-License-Identifier: Apache-2.0
// The random draws of one needle sample, in order: a pure function of (seed, split, index, attempt).
#pragma once

#include <cstdint>
#include <vector>

#include "base/philox.h"

namespace braid {

enum class NeedleSplit { train, test };

class NeedleDraws {
 public:
  // index is below 2^32, attempt below 2^31.
  NeedleDraws(uint64_t seed, NeedleSplit split, int64_t index, int64_t attempt = 0)
      : stream_(seed, RandomPurpose::task, "needles", 2 * attempt + (split == NeedleSplit::test ? 1 : 0), index) {}

  double uniform() { return stream_.uniform(next_++); }                               // [0, 1)
  int64_t below(int64_t bound) { return stream_.below(next_++, bound); }              // [0, bound)
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }  // [low, high]

  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[static_cast<size_t>(below(static_cast<int64_t>(from.size())))];
  }

 private:
  RandomStream stream_;
  uint64_t next_ = 0;
};

}  // namespace braid
