// SPDX-License-Identifier: Apache-2.0
// What differs between two checkpoints, whatever the layouts they were stored in.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "store/checkpoint_reader.h"

namespace braid {

struct TensorDifference {
  TensorSlice a, b;                      // whole: name, types, shapes
  int64_t differing = 0;                 // elements; all of them where the shapes are not the same
  int64_t not_finite = 0;                // of these, where one of the two is NaN or infinite: not in the largest below
  double absolute = 0, relative = 0;     // largest |a - b|, and largest |a - b| / max(|a|, |b|)
  bool alike() const { return a.shape == b.shape && a.element == b.element; }
};

struct TensorComparison {
  std::vector<std::string> only_in_a, only_in_b;
  std::vector<TensorDifference> different;
  int64_t compared = 0, elements = 0;    // tensors that both have, and their elements
  bool equal() const { return only_in_a.empty() && only_in_b.empty() && different.empty(); }
};

// Of tensors whose names `wanted` takes. Elements of one type are equal when their bits are, of two types when their
// values are. Reads a few MiB at a time. Error.
TensorComparison compare_tensors(const CheckpointReader& a, const CheckpointReader& b,
                                 const std::function<bool(const std::string&)>& wanted);

// Names of values that differ or that one of the two lacks. Wall time, which is never the same twice, is left out.
std::vector<std::string> differing_state(const CheckpointState& a, const CheckpointState& b);

}  // namespace braid
