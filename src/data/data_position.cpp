// SPDX-License-Identifier: Apache-2.0
#include "data/data_position.h"

#include <algorithm>
#include <limits>

namespace braid {

std::vector<Slice> DataPosition::next(int64_t count) const {
  std::vector<Slice> ranges;
  int64_t at = next_sample;
  auto gap = skipped.begin();
  while (count > 0) {
    while (gap != skipped.end() && gap->first + gap->count <= at) ++gap;
    if (gap != skipped.end() && gap->first <= at) {
      at = gap->first + gap->count;
      continue;
    }
    const int64_t until = gap == skipped.end() ? std::numeric_limits<int64_t>::max() : gap->first;
    ranges.push_back({at, std::min(count, until - at)});
    at += ranges.back().count;
    count -= ranges.back().count;
  }
  return ranges;
}

void DataPosition::advance(int64_t count) {
  const std::vector<Slice> ranges = next(count);
  if (!ranges.empty()) next_sample = ranges.back().first + ranges.back().count;
}

void DataPosition::skip(std::span<const Slice> ranges) {
  skipped.insert(skipped.end(), ranges.begin(), ranges.end());
  std::sort(skipped.begin(), skipped.end(), [](const Slice& a, const Slice& b) { return a.first < b.first; });
  std::vector<Slice> merged;
  for (const Slice& range : skipped) {
    if (merged.empty() || merged.back().first + merged.back().count < range.first) {
      merged.push_back(range);
    } else {
      Slice& last = merged.back();
      last.count = std::max(last.first + last.count, range.first + range.count) - last.first;
    }
  }
  skipped = std::move(merged);
}

std::vector<Slice> part_of(std::span<const Slice> ranges, Slice part) {
  std::vector<Slice> found;
  int64_t before = 0;
  for (const Slice& range : ranges) {
    const int64_t low = std::max(part.first, before), high = std::min(part.first + part.count, before + range.count);
    if (low < high) found.push_back({range.first + low - before, high - low});
    before += range.count;
  }
  return found;
}

}  // namespace braid
