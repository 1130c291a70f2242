// SPDX-License-Identifier: Apache-2.0
// Weights of a Hugging Face model folder into a model's parameters, straight from the mapped files: element types are
// converted on the way, and no second copy of the model is made. What a parameter holds only a part of
// (Parameter::slice) is read only in that part.
#pragma once

#include <functional>

#include "models/hf_files.h"
#include "nn/transformer.h"

namespace braid {

struct HfLoadOptions {
  bool check_finite = true;  // refuse NaN and infinity; costs a pass over what is read while it is in the cache
};

// Where values go of parameters whose masters are not here (Weights::elsewhere), one parameter after the other: which rows of
// what such a parameter holds are wanted, [first, first + count), and who takes them, [count, ...] in fp32.
struct HfElsewhere {
  struct Rows {
    int64_t first = 0, count = 0;
  };
  std::function<Rows(const Parameter& parameter)> wanted = {};
  std::function<void(const Parameter& parameter, int64_t first_row, const at::Tensor& rows)> store = {};
  // Told of a block whose matrices in 4 bits are all here, before those of the next one are read.
  std::function<void(int64_t layer)> take_block = {};
};

// Fills `master` and `compute` of the parameters that hf_layout names, whichever of both they have;
// those that are not stored are left out, those without a master go `elsewhere` if there is such a place. UsageError names
// file, tensor and what was expected: what check_hf_tensors refuses, and weights that are not finite.
void load_hf_weights(const HfFiles& files, const ModelConfig& config, ParameterSet& parameters,
                     const HfLoadOptions& options = {}, const HfElsewhere* elsewhere = nullptr);

// Rows and columns of one tensor, given as a box of it, into `target` of the box's shape, any device and float type.
void read_hf_box(const HfFiles::Found& found, const Box& box, at::Tensor target, const HfLoadOptions& options = {});

}  // namespace braid
