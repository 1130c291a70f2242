// SPDX-License-Identifier: Apache-2.0
// Which rows of the tables the last tokens name (Engram, arXiv 2601.07372, section 2). For order n and head k
//   row = offset(n, k) + (id[t] m_0 xor id[t-1] m_1 xor … id[t-n+1] m_(n-1)) mod P(n, k)
// with canonical ids, odd multipliers of the layer and a prime of the head's own; before a text there are pad ids.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "nn/hash_memory_config.h"

namespace braid {

// What tokens count as the same.
struct CanonicalTokens {
  std::vector<int64_t> ids;  // of each token id; all below `count`
  int64_t count = 0;
  int64_t pad = 0;  // canonical id before a text begins, at most `count`
};

// Each is its own; before a text stands one more.
CanonicalTokens distinct_tokens(int64_t vocabulary);

class NgramHash {
 public:
  // Multipliers are drawn for each layer (philox by seed + 10007 layer), so that no product of one with an id leaves
  // int64.
  NgramHash(const HashMemoryConfig& config, const CanonicalTokens& tokens, uint64_t seed, const at::Device& device);
  // The same from what another program drew: multipliers [layers, max_order], moduli [layers, orders * heads].
  NgramHash(const CanonicalTokens& tokens, const at::Tensor& multipliers, const at::Tensor& moduli);

  // Rows of the joint table for ids [B, P + T], the last T of which are asked for: [layers, B, T, orders * heads].
  // reach [B, T]: how many tokens before each belong to its text. Canonical ids come from canonical().
  at::Tensor rows(const at::Tensor& canonical, const at::Tensor& reach) const;
  at::Tensor canonical(const at::Tensor& ids) const;  // [B, T] to the same

  int64_t table_rows() const { return table_rows_; }
  int64_t pad() const { return pad_; }
  const at::Tensor& canonical_ids() const { return canonical_; }  // [V] int64
  const at::Tensor& multipliers() const { return multipliers_; }  // [layers, max_order] int64
  const at::Tensor& moduli() const { return moduli_; }            // [layers, orders * heads] int64

 private:
  void place_tables();

  at::Tensor canonical_, multipliers_, moduli_, offsets_;
  int64_t pad_ = 0, table_rows_ = 0;
};

}  // namespace braid
