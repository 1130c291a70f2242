// SPDX-License-Identifier: Apache-2.0
// Which tensors a Llama folder has, and which rows of which of Braid's parameters each is.
#pragma once

#include <string>
#include <vector>

#include "models/hf_files.h"
#include "nn/projection_shape.h"

namespace braid {

struct HfTensor {
  std::string name;  // "model.layers.3.self_attn.k_proj.weight"
  Extent shape;
  std::string parameter;   // "blocks.3.attn.in.weight"
  Extent parameter_shape;  // of the whole parameter
  int64_t first_row = 0;   // of this tensor in it
  std::string projection;  // its published name where it is one: "model.layers.3.self_attn.k_proj"
};

// What is here (ModelConfig::held), in the order of the layers: embedding, blocks, last norm, head; a tied head is not listed.
// UsageError: not llama.
std::vector<HfTensor> hf_layout(const ModelConfig& config);

// The tensor of one projection, without the parameter that it is part of.
HfTensor hf_tensor(const ProjectionShape& projection);

// Holds a folder's tensors against the layout: each is there, has the shape that config.json asks for and elements F32,
// BF16, F16 or F64; there are no others, but for rotary.inv_freq and, where the embedding is tied, a head that equals
// it. In a folder that bitsandbytes quantised, the projections that the configuration has in NF4 are what
// find_bnb_matrix (models/bnb_tensors.h) takes. UsageError names file, tensor and what was expected.
void check_hf_tensors(const HfFiles& files, const ModelConfig& config);

// The index of the first of `count` elements that is NaN or infinite, -1 where all are numbers. A float64 that float32
// cannot hold counts as infinite. No alignment is asked for.
int64_t first_not_finite(h5::Element element, const std::byte* data, int64_t count);

}  // namespace braid
