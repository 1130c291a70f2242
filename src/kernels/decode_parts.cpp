// SPDX-License-Identifier: Apache-2.0
#include "kernels/decode_parts.h"

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/decode_parts_cpu.h"

namespace braid::kernels {

namespace {

const DecodeParts& cpu(Element element) {
  if (element == Element::float64) throw Error("a decode step is of float32 or bfloat16, not of float64");
  switch (chosen_cpu_level()) {
    case CpuLevel::avx512: return level_avx512::decode_parts;
    case CpuLevel::avx2: return level_avx2::decode_parts;
    default: return level_base::decode_parts;
  }
}

}  // namespace

void turn_heads(Element element, const HeadRows& shape, const float* cosine, const float* sine, void* heads) {
  cpu(element).turn_heads(element, shape, cosine, sine, heads);
}

void gate(Element element, int64_t count, const void* gate, const void* up, void* out) {
  cpu(element).gate(element, count, gate, up, out);
}

void add_term(Element element, int64_t count, const void* term, void* y) { cpu(element).add_term(element, count, term, y); }

void multiply_by(Element element, int64_t count, float factor, void* y) { cpu(element).multiply_by(element, count, factor, y); }

void attend_cached(Element element, const CachedShape& shape, const void* packed, const int64_t* first, void* keys,
                   void* values, void* out, int64_t thread, int64_t threads) {
  cpu(element).attend_cached(element, shape, packed, first, keys, values, out, thread, threads);
}

}  // namespace braid::kernels
