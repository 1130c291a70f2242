// SPDX-License-Identifier: Apache-2.0
// The CPU kernels of decode_parts.h, one set per instruction set.
#pragma once

#include "kernels/decode_parts.h"

namespace braid::kernels {

struct DecodeParts {
  void (*turn_heads)(Element, const HeadRows&, const float* cosine, const float* sine, void* heads);
  void (*gate)(Element, int64_t count, const void* gate, const void* up, void* out);
  void (*add_term)(Element, int64_t count, const void* term, void* y);
  void (*multiply_by)(Element, int64_t count, float factor, void* y);
  void (*attend_cached)(Element, const CachedShape&, const void* packed, const int64_t* first, void* keys, void* values,
                        void* out, int64_t thread, int64_t threads);
};

namespace level_base { extern const DecodeParts decode_parts; }
namespace level_avx2 { extern const DecodeParts decode_parts; }
namespace level_avx512 { extern const DecodeParts decode_parts; }

}  // namespace braid::kernels
