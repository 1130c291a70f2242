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

bool is_empty(const AttentionShape& s) {
  if (s.key_value_heads < 1 || s.width < 1 || s.heads % s.key_value_heads != 0) {
    throw Error(str("attention: ", s.heads, " heads of width ", s.width, " over ", s.key_value_heads, " key-value heads"));
  }
  return s.batch == 0 || s.tokens == 0 || s.heads == 0;
}

}  // namespace

void attention(Element element, const AttentionShape& shape, const void* qkv, void* out, void* lse,
               void* probabilities) {
  if (!is_empty(shape)) cpu().forward(element, shape, qkv, out, lse, probabilities);
}

void attention_backward(Element element, const AttentionShape& shape, const void* qkv, const void* lse,
                        const void* probabilities, const void* dout, void* dqkv) {
  if (!is_empty(shape)) cpu().backward(element, shape, qkv, lse, probabilities, dout, dqkv);
}

}  // namespace braid::kernels
