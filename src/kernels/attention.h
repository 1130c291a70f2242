// SPDX-License-Identifier: Apache-2.0
// Causal multi-head self-attention on CPUs, o = softmax(q k^T / sqrt(d)) v, reading queries, keys and values where the
// projection left them and writing what the next product reads: no transposed copies. For small heads PyTorch's CPU
// kernels spend their time elsewhere (bf16 backward sets up a primitive per head; fp32 goes to MKL). On GPUs LibTorch's
// flash and cuDNN attention are used instead, so this one has no CUDA twin; nn/attention.h holds both to one test.
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

}  // namespace braid::kernels
