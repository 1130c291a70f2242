// SPDX-License-Identifier: Apache-2.0
// Samples of a ContextTask, each followed by a part of its context that is to be written out again.
#pragma once

#include <memory>

#include "data/context_task.h"

namespace braid {

struct RepeatShape {
  bool needles = false;           // what holds the answer; else anything
  int64_t least = 16, most = 64;  // tokens of a span; of longer needles the last `most`
  uint64_t seed = 0;
};

// The base's sample, then a block of `most` tokens: the span's, and ignored_target where it is shorter. The block has
// no targets: how it is asked for is the loss's business.
class RepeatedSpans final : public Dataset {
 public:
  RepeatedSpans(std::shared_ptr<const ContextTask> base, const RepeatShape& shape)
      : base_(std::move(base)), shape_(shape) {}
  int64_t vocabulary() const override { return base_->vocabulary(); }
  int64_t length() const override { return base_->length() + shape_.most; }
  int64_t epoch_size() const override { return base_->epoch_size(); }
  void sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const override;

 private:
  Slice span_of(int64_t index, const Slice& needle) const;

  std::shared_ptr<const ContextTask> base_;
  RepeatShape shape_;
};

}  // namespace braid
