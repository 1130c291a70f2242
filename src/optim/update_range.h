// SPDX-License-Identifier: Apache-2.0
// What an optimiser updates. It knows no parameter set: ranges may be all of a model's weights or one rank's part of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "nn/parameter.h"

namespace braid {

// Elements [first, first + count) of a parameter, which begin at `offset` of a range. Both are multiples of
// ParameterSet::alignment, so that a block of an 8-bit optimiser belongs to one part of one parameter.
struct ParameterPart {
  const Parameter* parameter = nullptr;
  int64_t first = 0, count = 0, offset = 0;
};

// Neighbouring master weights of one group and their gradients, [n] each. What no part covers is padding: zero, and it
// stays zero.
struct UpdateRange {
  int group = 0;
  double rate = 1;  // what the learning rate is multiplied by
  at::Tensor weights, gradient;
  std::vector<ParameterPart> parts;
};

// All of a set that holds its flat buffers, a range for each group.
std::vector<UpdateRange> whole_ranges(ParameterSet& parameters);

// The sum of the gradients' squares of parameters that `wanted` says, a scalar in double on the device.
using ParameterFilter = std::function<bool(const Parameter&)>;
at::Tensor gradient_squares(const std::vector<UpdateRange>& ranges, const ParameterFilter& wanted);

}  // namespace braid
