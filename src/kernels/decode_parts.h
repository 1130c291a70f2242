// SPDX-License-Identifier: Apache-2.0
// What a decode step does between its products (decode_step.h), on CPUs, each call by the calling thread alone: it may be one
// of several in a parallel region. float32 or bfloat16, computed in float32.
#pragma once

#include <cstdint>

#include "kernels/launch.h"

namespace braid::kernels {

// In place, `count` heads [d] of each of R rows, `stride` elements apart, turned by cosine and sine [R, d] as nn/rotary.h has it.
struct HeadRows {
  int64_t rows, count, width, stride;
};
void turn_heads(Element, const HeadRows& shape, const float* cosine, const float* sine, void* heads);

// out = silu(gate) * up, of `count` elements; silu(gate) is rounded to the element as a tensor would be.
void gate(Element, int64_t count, const void* gate, const void* up, void* out);

// y += term, and y *= factor, of `count` elements, rounded to the element.
void add_term(Element, int64_t count, const void* term, void* y);
void multiply_by(Element, int64_t count, float factor, void* y);

// One new token for each of B texts, whose keys and values so far lie in the first `filled` of `slots` slots.
struct CachedShape {
  int64_t texts, heads, key_value_heads, width, slots, filled;
};

// packed [B, H + 2 H_kv, d]: queries, keys, values; keys and values [B, H_kv, slots, d] get the new ones in slot `filled`.
// out [B, H, d] = softmax(q k^T / sqrt(d)) v over the slots from first[b] to `filled`, and `filled` alone where that is before
// them. Texts and key heads are spread over
// `threads` calls, which may happen at the same time.
void attend_cached(Element, const CachedShape& shape, const void* packed, const int64_t* first, void* keys, void* values,
                   void* out, int64_t thread, int64_t threads);

}  // namespace braid::kernels
