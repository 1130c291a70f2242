// SPDX-License-Identifier: Apache-2.0
// Matrices of a checkpoint as tensors of a file in bitsandbytes' form (models/bnb_tensors.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "models/hf_layout.h"
#include "store/checkpoint_reader.h"

namespace braid {

struct HeldTensor {
  SafeTensor out;
  at::Tensor values;  // its elements
};

// Reads the rows [N, K] that `stored` is, rounds them to bfloat16 where `element` says so, and quantises them.
std::vector<HeldTensor> quantise_to_bnb(const CheckpointReader& reader, const TensorSlice& stored,
                                        const HfTensor& tensor, h5::Element element, bool nested);

}  // namespace braid
