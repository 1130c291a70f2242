// SPDX-License-Identifier: Apache-2.0
#include "data/repeated_spans.h"

#include <algorithm>

#include "base/philox.h"

namespace braid {

Slice RepeatedSpans::span_of(int64_t index, const Slice& needle) const {
  if (shape_.needles) {
    const int64_t count = std::min(needle.count, shape_.most);
    return {needle.first + needle.count - count, count};
  }
  const RandomStream random(shape_.seed, RandomPurpose::task, "repeated spans", index >> 32, index & 0xffffffff);
  const int64_t most = std::min(shape_.most, base_->context()), least = std::min(shape_.least, most);
  const int64_t count = least + random.below(0, most - least + 1);
  return {random.below(1, base_->context() - count + 1), count};
}

void RepeatedSpans::sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const {
  const auto length = static_cast<size_t>(base_->length());
  const Slice span = span_of(index, base_->sample_with_needle(index, tokens.first(length), targets.first(length)));
  std::ranges::fill(tokens.subspan(length), ignored_target);
  std::ranges::fill(targets.subspan(length), ignored_target);
  std::copy_n(tokens.begin() + span.first, span.count, tokens.begin() + base_->length());
}

}  // namespace braid
