// SPDX-License-Identifier: Apache-2.0
// Causal multi-head self-attention on CPUs, o = softmax(q k^T / sqrt(d)) v, reading queries, keys and values where the
// projection left them and writing what the next product reads: no transposed copies. For small heads PyTorch's CPU
// kernels spend their time elsewhere (bf16 backward sets up a primitive per head; fp32 goes to MKL). On GPUs LibTorch's
// flash and cuDNN attention are used instead, so this one has no CUDA twin; nn/attention.h holds both to one test. Keys may
// come in parts, whose results are joined by their log sums.
#pragma once

#include <cstdint>

#include "kernels/launch.h"

namespace braid::kernels {

// `heads` is a multiple of `key_value_heads`: query head h reads key head h / (heads / key_value_heads).
struct AttentionShape {
  int64_t batch, tokens, heads, key_value_heads, width;
};

// qkv [B, T, H + 2 H_kv, d] -> out [B, T, H, d] and the rows' log of summed exponentials, lse [B, H, T], in float64 for
// float64 and in float32 otherwise. `probabilities` [B, H, T, T], of the same type as lse, gets the whole matrix where it
// is not null.
void attention(Element element, const AttentionShape& shape, const void* qkv, void* out, void* lse,
               void* probabilities);

// dqkv from dout. With `probabilities` backward reads them, else it computes them again from lse.
void attention_backward(Element element, const AttentionShape& shape, const void* qkv, const void* lse,
                        const void* probabilities, const void* dout, void* dqkv);

// Where rows of heads lie, in elements: from one sample to the next, and from one token to the next. Heads of a token follow
// each other.
struct AttentionRows {
  int64_t sample, token;
};

// Attention of `queries` tokens over some of the keys that they see, to be joined with that over others. Each query sees all
// of these keys, or, causal, which takes as many keys as queries, query t the first t + 1; but none before its `from`, so that
// a query may see none at all of a part.
struct AttentionPart {
  int64_t batch, queries, keys, heads, key_value_heads, width;
  bool causal;
  AttentionRows query, key;  // values lie key_value_heads heads behind their keys
  AttentionRows out;         // of results, and of gradients of queries
  int64_t lse_head;          // elements from one head's log sums to the next, samples following each other
  const int64_t* from = nullptr;  // [B, T] of the queries; null: the first key
};

// sums [B, T, H, d] and lse [B, H, T], both of the type of lse above, become those over this part too: with log sums a, b and
// results x, y of two parts, log(e^a + e^b) and (e^a x + e^b y) / (e^a + e^b). Before the first part lse is -infinity and
// sums are 0. q [B, T, H, d], kv [B, keys, 2 H_kv, d].
void attention_part(Element element, const AttentionPart& part, const void* q, const void* kv, void* sums, void* lse);

// Adds the part's share to dq [B, T, H, d] and dkv [B, keys, 2 H_kv, d], both of the type of lse. `lse` is that over all
// parts, `dots` [B, H, T], of its type, the dot products of each row's whole result and its gradient (Dao et al.,
// arXiv 2205.14135, appendix B.4).
void attention_part_backward(Element element, const AttentionPart& part, const void* q, const void* kv, const void* lse,
                             const void* dots, const void* dout, void* dq, void* dkv);

}  // namespace braid::kernels
