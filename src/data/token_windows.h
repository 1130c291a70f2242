// SPDX-License-Identifier: Apache-2.0
// A shard as samples of T tokens. Window j covers tokens [j T, j T + T], its targets one further; the last tokens that
// do not fill a window are left out. In training each epoch visits every window once, in an order that is a pure
// function of (seed, epoch, index).
#pragma once

#include <memory>

#include "data/dataset.h"
#include "data/token_shard.h"

namespace braid {

enum class WindowOrder { shuffled, sequential };

class TokenWindows final : public Dataset {
 public:
  // UsageError when the shard holds less than one window.
  TokenWindows(std::shared_ptr<const TokenShard> shard, const std::string& name, int64_t length, uint64_t seed,
               WindowOrder order);
  int64_t vocabulary() const override { return shard_->info().vocabulary; }
  int64_t length() const override { return length_; }
  int64_t epoch_size() const override { return windows_; }
  void sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const override;
  int64_t window_of(int64_t index) const;  // which window sample `index` is

 private:
  std::shared_ptr<const TokenShard> shard_;
  int64_t length_, windows_;
  uint64_t seed_;
  WindowOrder order_;
};

}  // namespace braid
