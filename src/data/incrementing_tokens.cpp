// SPDX-License-Identifier: Apache-2.0
#include "data/incrementing_tokens.h"

namespace braid {

IncrementingTokens::IncrementingTokens(int64_t vocabulary, int64_t length, Draw draw)
    : vocabulary_(vocabulary), length_(length), draw_(std::move(draw)) {}

int64_t IncrementingTokens::start_of(int64_t index) const {
  const std::lock_guard lock(mutex_);
  while (static_cast<int64_t>(starts_.size()) <= index) starts_.push_back(draw_(vocabulary_));
  return starts_[static_cast<size_t>(index)];
}

void IncrementingTokens::sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const {
  const int64_t start = start_of(index);
  for (int64_t i = 0; i < length_; ++i) {
    tokens[i] = (start + i) % vocabulary_;
    targets[i] = (start + i + 1) % vocabulary_;
  }
}

}  // namespace braid
