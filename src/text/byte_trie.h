// SPDX-License-Identifier: Apache-2.0
// A set of texts, and which of them is the longest that begins at a place.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace braid {

class ByteTrie {
 public:
  ByteTrie() : nodes_(1) { first_.fill(0); }

  bool empty() const { return nodes_.size() == 1; }
  // A text that is not empty; one that is there already keeps its value.
  void add(std::string_view text, int32_t value);

  struct Found {
    int32_t value = -1;  // -1: none
    size_t length = 0;
  };
  Found longest_at(std::string_view text, size_t at) const;

 private:
  struct Node {
    int32_t value = -1;
    std::vector<std::pair<unsigned char, uint32_t>> next;
  };
  uint32_t follow(uint32_t node, unsigned char byte) const;  // 0: there is none

  std::vector<Node> nodes_;
  std::array<uint32_t, 256> first_;  // the root's children
};

}  // namespace braid
