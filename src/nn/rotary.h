// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding (Su et al., arXiv 2104.09864) in the rotate-half layout of Hugging Face's Llama: dimension i
// turns with dimension i + d/2 by the angle position * theta^(-2i/d).
#pragma once

#include <ATen/core/Tensor.h>

namespace braid {

struct RotaryTable {
  at::Tensor cosine, sine;  // [B or 1, 1, T, d] in fp32 (double in the reference precision)
};

// position_ids [T] or [B, T] int64.
RotaryTable rotary_table(const at::Tensor& position_ids, int64_t head_width, double theta, at::ScalarType type);

// x [B, H, T, d]; turned in the table's precision, returned in x's type.
at::Tensor rotate(const at::Tensor& x, const RotaryTable& table);

}  // namespace braid
