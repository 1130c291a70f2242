// SPDX-License-Identifier: Apache-2.0
// Weights of a Hugging Face model folder into a model's parameters, straight from the mapped files: element types are
// converted on the way, and no second copy of the model is made. What a parameter holds only a part of
// (Parameter::slice) is read only in that part.
#pragma once

#include "models/hf_files.h"
#include "nn/transformer.h"

namespace braid {

struct HfLoadOptions {
  bool check_finite = true;  // refuse NaN and infinity; costs a pass over what is read while it is in the cache
};

// Fills `master` and `compute` of the parameters that hf_layout names, whichever of both they have;
// those that are not stored are left out. UsageError names
// file, tensor and what was expected: what check_hf_tensors refuses, and weights that are not finite.
void load_hf_weights(const HfFiles& files, const ModelConfig& config, ParameterSet& parameters,
                     const HfLoadOptions& options = {});

// Rows and columns of one tensor, given as a box of it, into `target` of the box's shape, any device and float type.
void read_hf_box(const HfFiles::Found& found, const Box& box, at::Tensor target, const HfLoadOptions& options = {});

}  // namespace braid
