// SPDX-License-Identifier: Apache-2.0
// Attention over keys and values that lie in blocks of a common pool (PagedAttention, Kwon et al., arXiv 2309.06180,
// section 4.1), o = softmax(q k^T / sqrt(d)) v, for rows of many texts at once: a new token of one, a piece of the
// prompt of another. What a row gets depends on its own text alone, to the bit, whatever rows are beside it.
#pragma once

#include <cstdint>

#include "kernels/launch.h"

namespace braid::kernels {

// A token: which block table its text has, and how many tokens are before it. It sees those and itself.
struct PagedRow {
  int64_t table, position;
};

// `heads` is a multiple of `key_value_heads`: query head h reads key head h / (heads / key_value_heads).
struct PagedShape {
  int64_t rows, heads, key_value_heads, width;
  int64_t block_tokens, table_width;  // of a block; blocks of a table, of which those that a row needs are read
  int64_t longest;                    // keys that any row sees
};

// packed [R, H + 2 H_kv, d]: queries, keys, values. rows [R], those of one text best one after another; tables
// [tables, table_width] of block numbers.
struct PagedInputs {
  const void* packed;
  const PagedRow* rows;
  const int64_t* tables;
};

// keys [blocks, H_kv, d, block_tokens], turned on their side so that a query meets many at once; values [blocks, H_kv,
// block_tokens, d].
void store_paged(Launch, const PagedShape&, Element, const PagedInputs&, void* keys, void* values);

// out [R, H, d], of keys and values that are all stored, the rows' own among them. Slots behind a row's position may
// hold anything. `scratch` has paged_scratch_bytes bytes where the kernel runs.
void paged_attention(Launch, const PagedShape&, Element, const PagedInputs&, const void* keys, const void* values,
                     void* out, void* scratch);
// On a CPU, by each of the threads of a parallel region, that many of them.
void paged_attention_part(const PagedShape&, Element, const PagedInputs&, const void* keys, const void* values, void* out,
                          int64_t thread, int64_t threads);
int64_t paged_scratch_bytes(Launch, const PagedShape&, Element);

}  // namespace braid::kernels
