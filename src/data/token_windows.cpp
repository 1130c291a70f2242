// SPDX-License-Identifier: Apache-2.0
#include "data/token_windows.h"

#include "base/error.h"
#include "base/philox.h"

namespace braid {

TokenWindows::TokenWindows(std::shared_ptr<const TokenShard> shard, const std::string& name, int64_t length,
                           uint64_t seed, WindowOrder order)
    : shard_(std::move(shard)),
      length_(length),
      windows_((shard_->info().token_count - 1) / length),
      seed_(seed),
      order_(order) {
  if (windows_ < 1) {
    throw UsageError(
        str(name, ": ", shard_->info().token_count, " tokens do not fill one sample of ", length, " and its target"));
  }
}

int64_t TokenWindows::window_of(int64_t index) const {
  const int64_t epoch = index / windows_, place = index % windows_;
  return order_ == WindowOrder::sequential ? place
                                           : static_cast<int64_t>(permuted_index(place, windows_, seed_, epoch));
}

void TokenWindows::sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const {
  const int64_t first = window_of(index) * length_;
  for (int64_t i = 0; i < length_; ++i) {
    tokens[i] = shard_->token(first + i);
    targets[i] = shard_->token(first + i + 1);
  }
}

}  // namespace braid
