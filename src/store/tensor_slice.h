// SPDX-License-Identifier: Apache-2.0
// What of a global tensor is kept in one place: a box of it, and of the box's elements in row-major order an interval.
// A whole tensor, a tensor-parallel part (a box) and a part of a flat sharded buffer (an interval) are all slices, so that
// what one layout stored any other can load.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "store/h5.h"

namespace braid {

using Extent = std::vector<int64_t>;  // one number a dimension; empty: a single value

struct TensorBox {
  Extent origin, extent;
  bool operator==(const TensorBox&) const = default;
};

struct TensorSlice {
  std::string name;
  h5::Element element = h5::Element::float32;
  Extent shape;                  // of the global tensor
  TensorBox box;
  int64_t first = 0, count = 0;  // interval of the box's elements, row-major
  size_t bytes() const { return static_cast<size_t>(count) * h5::element_bytes(element); }
};

int64_t elements_of(const Extent& extent);
TensorSlice whole_tensor(const std::string& name, h5::Element element, const Extent& shape);

// The slice as boxes of the global tensor, in the order of its elements; their elements are contiguous in the slice.
// At most 2 n - 1 for n dimensions.
std::vector<TensorBox> boxes_of(const TensorSlice& slice);

// Copies the elements that both slices of one tensor hold from `source` to `target`; returns how many.
int64_t copy_overlap(const TensorSlice& from, const std::byte* source, const TensorSlice& to, std::byte* target);
// How many elements both hold.
int64_t overlap_of(const TensorSlice& a, const TensorSlice& b);

std::string extent_text(const Extent& extent);   // "128,512", "" for a single value
Extent parse_extent(const std::string& text);    // Error

}  // namespace braid
