// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention.h"

#include "base/error.h"
#include "kernels/attention_cpu.h"
#include "kernels/cpu_level.h"

namespace braid::kernels {

namespace {

const AttentionKernels& cpu() {
  switch (chosen_cpu_level()) {
    case CpuLevel::avx512: return level_avx512::attention;
    case CpuLevel::avx2: return level_avx2::attention;
    default: return level_base::attention;
  }
}

void require_heads(int64_t heads, int64_t key_value_heads, int64_t width) {
  if (key_value_heads >= 1 && width >= 1 && heads % key_value_heads == 0) return;
  throw Error(str("attention: ", heads, " heads of width ", width, " over ", key_value_heads, " key-value heads"));
}

bool is_empty(const AttentionPart& p) {
  require_heads(p.heads, p.key_value_heads, p.width);
  if (p.causal && p.queries != p.keys) throw Error(str("causal attention of ", p.queries, " queries over ", p.keys, " keys"));
  return p.batch == 0 || p.queries == 0 || p.keys == 0 || p.heads == 0;
}

// Of all tokens over all that are not behind them.
AttentionPart whole(const AttentionShape& s) {
  require_heads(s.heads, s.key_value_heads, s.width);
  const int64_t in = (s.heads + 2 * s.key_value_heads) * s.width, out = s.heads * s.width;
  const AttentionRows packed{s.tokens * in, in};
  return {s.batch, s.tokens, s.tokens, s.heads, s.key_value_heads, s.width, true, packed, packed, {s.tokens * out, out}, s.tokens};
}

// From packed queries to the keys and values beside them.
int64_t bytes_to_keys(Element element, const AttentionShape& s) {
  const int64_t size = element == Element::float64 ? 8 : element == Element::float32 ? 4 : 2;
  return s.heads * s.width * size;
}

}  // namespace

void attention(Element element, const AttentionShape& shape, const void* qkv, void* out, void* lse,
               void* probabilities) {
  const AttentionPart part = whole(shape);
  const void* const kv = static_cast<const char*>(qkv) + bytes_to_keys(element, shape);
  if (!is_empty(part)) cpu().forward(element, part, {qkv, kv, out, nullptr, lse, probabilities});
}

void attention_backward(Element element, const AttentionShape& shape, const void* qkv, const void* lse,
                        const void* probabilities, const void* dout, void* dqkv) {
  const AttentionPart part = whole(shape);
  const int64_t keys = bytes_to_keys(element, shape);
  const void* const kv = static_cast<const char*>(qkv) + keys;
  void* const dkv = static_cast<char*>(dqkv) + keys;
  if (is_empty(part)) return;
  cpu().backward(element, part, {qkv, kv, lse, nullptr, probabilities, dout, dqkv, dkv, nullptr, nullptr});
}

void attention_part(Element element, const AttentionPart& part, const void* q, const void* kv, void* sums, void* lse) {
  if (!is_empty(part)) cpu().forward(element, part, {q, kv, nullptr, sums, lse, nullptr});
}

void attention_part_backward(Element element, const AttentionPart& part, const void* q, const void* kv, const void* lse,
                             const void* dots, const void* dout, void* dq, void* dkv) {
  if (is_empty(part)) return;
  cpu().backward(element, part, {q, kv, lse, dots, nullptr, dout, nullptr, nullptr, dq, dkv});
}

}  // namespace braid::kernels
