// SPDX-License-Identifier: Apache-2.0
// Matrices of a model as tensors of a file in bitsandbytes' form (models/bnb_tensors.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "models/hf_export.h"
#include "models/hf_layout.h"

namespace braid {

struct HeldTensor {
  SafeTensor out;
  at::Tensor values;  // its elements
};

// Reads the rows [N, K], rounds them to bfloat16 where `element` says so, and quantises them.
std::vector<HeldTensor> quantise_to_bnb(const HfExportSource& source, const TensorSlice& rows,
                                        const HfTensor& tensor, h5::Element element, bool nested);

}  // namespace braid
