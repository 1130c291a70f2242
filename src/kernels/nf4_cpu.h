// SPDX-License-Identifier: Apache-2.0
// The CPU kernels of nf4.h, one set per instruction set.
#pragma once

#include "kernels/dynamic_map.h"
#include "kernels/nf4.h"

namespace braid::kernels {

struct Nf4Kernels {
  void (*quantise)(int64_t count, Element, const void* x, uint8_t* packed, float* absmax);
  void (*nest)(MapTables, int64_t blocks, const float* absmax, float offset, uint8_t* codes, float* nested);
  void (*dequantise)(const Nf4Matrix&, Rectangle, Element, void* out);
};

namespace level_base { extern const Nf4Kernels nf4; }
namespace level_avx2 { extern const Nf4Kernels nf4; }
namespace level_avx512 { extern const Nf4Kernels nf4; }

}  // namespace braid::kernels
