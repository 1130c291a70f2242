// SPDX-License-Identifier: Apache-2.0
#include "text/byte_trie.h"

namespace braid {

uint32_t ByteTrie::follow(uint32_t node, unsigned char byte) const {
  if (node == 0) return first_[byte];
  for (const auto& [label, child] : nodes_[node].next) {
    if (label == byte) return child;
  }
  return 0;
}

void ByteTrie::add(std::string_view text, int32_t value) {
  uint32_t node = 0;
  for (const char letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    uint32_t child = follow(node, byte);
    if (child == 0) {
      child = static_cast<uint32_t>(nodes_.size());
      nodes_.emplace_back();
      if (node == 0)
        first_[byte] = child;
      else
        nodes_[node].next.emplace_back(byte, child);
    }
    node = child;
  }
  if (nodes_[node].value < 0) nodes_[node].value = value;
}

ByteTrie::Found ByteTrie::longest_at(std::string_view text, size_t at) const {
  Found found;
  uint32_t node = 0;
  for (size_t end = at; end < text.size();) {
    node = follow(node, static_cast<unsigned char>(text[end]));
    if (node == 0) break;
    ++end;
    if (nodes_[node].value >= 0) found = {nodes_[node].value, end - at};
  }
  return found;
}

}  // namespace braid
