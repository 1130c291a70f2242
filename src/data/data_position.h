// SPDX-License-Identifier: Apache-2.0
// Where a run stands in its stream of samples: one integer and the ranges it leaves out, whatever the number of ranks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/dataset.h"

namespace braid {

struct DataPosition {
  int64_t next_sample = 0;
  std::vector<Slice> skipped;  // never trained on: in ascending order, apart from each other

  // The next `count` samples as ranges, those skipped left out. Does not advance.
  std::vector<Slice> next(int64_t count) const;
  void advance(int64_t count);               // past what next(count) gives
  void skip(std::span<const Slice> ranges);  // from now on left out
};

// Of the samples of `ranges`, counted through, those with numbers [part.first, part.first + part.count).
std::vector<Slice> part_of(std::span<const Slice> ranges, Slice part);

}  // namespace braid
