// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding (Su et al., arXiv 2104.09864) in the rotate-half layout of Hugging Face's Llama: dimension
// i turns with dimension i + d/2 by the angle position * theta^(-2i/d), or a slower one where the context is stretched.
#pragma once

#include <ATen/core/Tensor.h>

#include "nn/model_config.h"

namespace braid {

struct RotaryTable {
  at::Tensor cosine, sine;  // [B or 1, 1, T, d] in fp32 (double in the reference precision)
};

// The angle of each pair of dimensions per token [d/2] in radians, stretched as config.rope says:
//   linear  f / factor
//   llama3  f for pairs that turn more than high_frequency times in the original context, f / factor for those that
//   turn
//           less than low_frequency times, and between them a mixture linear in the number of turns
//           (Llama 3.1; huggingface.co/docs/transformers, modeling_rope_utils)
//   yarn    the same with borders in dimensions instead of turns (Peng et al., arXiv 2309.00071, §3.2)
at::Tensor rotary_frequencies(const ModelConfig& config, const at::TensorOptions& options);

// position_ids [T] or [B, T] int64.
RotaryTable rotary_table(const at::Tensor& position_ids, const ModelConfig& config, at::ScalarType type);

// x [B, H, T, d]; turned in the table's precision, returned in x's type.
at::Tensor rotate(const at::Tensor& x, const RotaryTable& table);

}  // namespace braid
