// SPDX-License-Identifier: Apache-2.0
#include "store/tensor_slice.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <functional>
#include <numeric>
#include <optional>

#include "base/error.h"

namespace braid {

int64_t elements_of(const Extent& extent) {
  return std::accumulate(extent.begin(), extent.end(), int64_t{1}, std::multiplies<>());
}

TensorSlice whole_tensor(const std::string& name, h5::Element element, const Extent& shape) {
  return {name, element, shape, {Extent(shape.size(), 0), shape}, 0, elements_of(shape)};
}

namespace {

// Of a box with `extent`, the elements [first, first + count): cut along dimension `at`, whose indices before it are in
// `prefix`. Whole rows make one box; a row that is cut is cut along the next dimension.
void cut(const Extent& extent, size_t at, Extent prefix, int64_t first, int64_t count, std::vector<TensorBox>& out) {
  if (count == 0) return;
  const int64_t row = elements_of(Extent(extent.begin() + static_cast<int64_t>(at) + 1, extent.end()));
  const auto partial = [&](int64_t index, int64_t start, int64_t length) {
    Extent deeper = prefix;
    deeper.push_back(index);
    cut(extent, at + 1, std::move(deeper), start, length, out);
  };
  const int64_t head = first % row == 0 ? 0 : std::min(count, row - first % row);
  partial(first / row, first % row, head);
  const int64_t begin = first + head, rows = (count - head) / row;
  if (rows > 0) {
    TensorBox box{prefix, Extent(prefix.size(), 1)};
    box.origin.push_back(begin / row);
    box.extent.push_back(rows);
    box.origin.resize(extent.size(), 0);
    box.extent.insert(box.extent.end(), extent.begin() + static_cast<int64_t>(at) + 1, extent.end());
    out.push_back(std::move(box));
  }
  partial(begin / row + rows, 0, count - head - rows * row);
}

std::optional<TensorBox> intersection(const TensorBox& a, const TensorBox& b) {
  TensorBox both;
  for (size_t d = 0; d < a.origin.size(); ++d) {
    const int64_t low = std::max(a.origin[d], b.origin[d]);
    const int64_t high = std::min(a.origin[d] + a.extent[d], b.origin[d] + b.extent[d]);
    if (low >= high) return std::nullopt;
    both.origin.push_back(low);
    both.extent.push_back(high - low);
  }
  return both;
}

// Where the element at a global index lies among the slice's.
int64_t position_in(const TensorSlice& slice, const Extent& index) {
  int64_t flat = 0;
  for (size_t d = 0; d < index.size(); ++d) flat = flat * slice.box.extent[d] + index[d] - slice.box.origin[d];
  return flat - slice.first;
}

// Row by row along the last dimension.
void copy_box(const TensorBox& box, const TensorSlice& from, const std::byte* source, const TensorSlice& to,
              std::byte* target) {
  const size_t element = h5::element_bytes(from.element);
  const int64_t length = box.extent.empty() ? 1 : box.extent.back();
  const int64_t rows = elements_of(box.extent) / length;
  for (int64_t row = 0; row < rows; ++row) {
    Extent index = box.origin;
    int64_t rest = row;
    for (size_t d = index.size() < 2 ? 0 : index.size() - 1; d-- > 0;) {
      index[d] += rest % box.extent[d];
      rest /= box.extent[d];
    }
    std::memcpy(target + static_cast<size_t>(position_in(to, index)) * element,
                source + static_cast<size_t>(position_in(from, index)) * element, static_cast<size_t>(length) * element);
  }
}

// Calls `act` with each box that both slices hold.
void for_each_overlap(const TensorSlice& a, const TensorSlice& b, const std::function<void(const TensorBox&)>& act) {
  const std::vector<TensorBox> boxes_of_b = boxes_of(b);
  for (const TensorBox& box : boxes_of(a)) {
    for (const TensorBox& other : boxes_of_b) {
      if (const auto both = intersection(box, other)) act(*both);
    }
  }
}

}  // namespace

std::vector<TensorBox> boxes_of(const TensorSlice& slice) {
  std::vector<TensorBox> boxes;
  if (slice.count == 0) return boxes;
  if (slice.box.extent.empty()) return {slice.box};
  cut(slice.box.extent, 0, {}, slice.first, slice.count, boxes);
  for (TensorBox& box : boxes) {
    for (size_t d = 0; d < box.origin.size(); ++d) box.origin[d] += slice.box.origin[d];
  }
  return boxes;
}

int64_t copy_overlap(const TensorSlice& from, const std::byte* source, const TensorSlice& to, std::byte* target) {
  int64_t copied = 0;
  for_each_overlap(from, to, [&](const TensorBox& box) {
    copy_box(box, from, source, to, target);
    copied += elements_of(box.extent);
  });
  return copied;
}

int64_t overlap_of(const TensorSlice& a, const TensorSlice& b) {
  int64_t count = 0;
  for_each_overlap(a, b, [&](const TensorBox& box) { count += elements_of(box.extent); });
  return count;
}

std::string extent_text(const Extent& extent) {
  std::string text;
  for (const int64_t length : extent) text += (text.empty() ? "" : ",") + std::to_string(length);
  return text;
}

Extent parse_extent(const std::string& text) {
  Extent extent;
  const char* next = text.data();
  const char* end = next + text.size();
  while (next != end) {
    const auto [after, problem] = std::from_chars(next, end, extent.emplace_back());
    const bool more = after != end && *after == ',';
    if (problem != std::errc{} || extent.back() < 0 || (after != end && !more) || (more && after + 1 == end)) {
      throw Error(str("expected lengths like 128,512, found '", text, "'"));
    }
    next = more ? after + 1 : after;
  }
  return extent;
}

}  // namespace braid
