// SPDX-License-Identifier: Apache-2.0
// The task of softwarewrighter/mHC-poc: a sequence counts up from a random start, modulo the vocabulary. The start of
// sample i is draw i of a sequential generator, which the caller hands in where the model's first values left it; every
// rank replays the draws and skips those of other ranks.
#pragma once

#include <functional>
#include <mutex>

#include "data/dataset.h"

namespace braid {

class IncrementingTokens final : public Dataset {
 public:
  // draw(bound) gives the next number in [0, bound).
  using Draw = std::function<int64_t(int64_t bound)>;
  IncrementingTokens(int64_t vocabulary, int64_t length, Draw draw);

  int64_t vocabulary() const override { return vocabulary_; }
  int64_t length() const override { return length_; }
  int64_t epoch_size() const override { return -1; }
  void sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const override;

 private:
  int64_t start_of(int64_t index) const;

  int64_t vocabulary_, length_;
  Draw draw_;
  mutable std::mutex mutex_;
  mutable std::vector<int64_t> starts_;  // drawn so far
};

}  // namespace braid
