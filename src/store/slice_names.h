// SPDX-License-Identifier: Apache-2.0
// What the datasets of a shard are called.
#pragma once

#include <map>
#include <string>

namespace braid {

// Slices of one shard in their order, each by its tensor's name. A shard may hold several of one tensor, such as a rank's
// heads of queries, keys and values: those behind the first have a number, "model/blocks.0.attn.in.weight#1".
class SliceNames {
 public:
  std::string next(const std::string& tensor) {
    const int before = counts_[tensor]++;
    return before == 0 ? tensor : tensor + "#" + std::to_string(before);
  }

 private:
  std::map<std::string, int> counts_;
};

}  // namespace braid
