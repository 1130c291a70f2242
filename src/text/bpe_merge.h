// SPDX-License-Identifier: Apache-2.0
// The heart of byte-pair encoding: neighbours of a word join, the pair of lowest rank first and of equals the leftmost.
#pragma once

#include <string>
#include <vector>

#include "text/merge_table.h"

namespace braid {

// What merging one word needs; kept from word to word to save allocations.
struct MergeScratch {
  struct Symbol {
    TokenId id;              // no_token: joined with the one before it
    int32_t previous, next;  // -1: none
  };
  struct Candidate {
    uint32_t rank;
    int32_t at;
    TokenId result;
  };
  std::string letters;
  std::vector<TokenId> ids;
  std::vector<Merge> merges;  // of each symbol with the next one
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

// Merges scratch.ids, a word's characters, until nothing joins.
void merge_word(const MergeTable& table, MergeScratch& scratch);

}  // namespace braid
