// SPDX-License-Identifier: Apache-2.0
#include "store/checkpoint_compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "store/element_convert.h"

namespace braid {

namespace {

constexpr int64_t piece_elements = 1 << 18;
constexpr const char* wall_time = "elapsed_seconds";

// A piece of a tensor as it is stored and as numbers.
struct Piece {
  std::vector<std::byte> bytes;
  std::vector<double> values;

  void read(const CheckpointReader& reader, TensorSlice slice, int64_t first, int64_t count) {
    slice.first = first;
    slice.count = count;
    bytes.resize(slice.bytes());
    reader.read(slice, bytes.data());
  }
  void to_numbers(h5::Element element, int64_t count) {
    values.resize(static_cast<size_t>(count));
    auto* out = reinterpret_cast<std::byte*>(values.data());
    convert_elements(element, bytes.data(), h5::Element::float64, out, values.size());
  }
};

bool same_value(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

void add_element(TensorDifference& difference, double a, double b) {
  ++difference.differing;
  if (!std::isfinite(a) || !std::isfinite(b)) {
    ++difference.not_finite;
    return;
  }
  const double absolute = std::fabs(a - b), size = std::max(std::fabs(a), std::fabs(b));
  difference.absolute = std::max(difference.absolute, absolute);
  if (size > 0) difference.relative = std::max(difference.relative, absolute / size);
}

void add_piece(TensorDifference& difference, Piece& a, Piece& b, int64_t count) {
  const bool one_type = difference.a.element == difference.b.element;
  if (one_type && a.bytes == b.bytes) return;
  a.to_numbers(difference.a.element, count);
  b.to_numbers(difference.b.element, count);
  const size_t width = h5::element_bytes(difference.a.element);
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    const bool same = one_type ? std::memcmp(&a.bytes[i * width], &b.bytes[i * width], width) == 0
                               : same_value(a.values[i], b.values[i]);
    if (!same) add_element(difference, a.values[i], b.values[i]);
  }
}

TensorDifference compare(const CheckpointReader& a, const CheckpointReader& b, const TensorSlice& in_a,
                         const TensorSlice& in_b) {
  TensorDifference difference{in_a, in_b};
  if (in_a.shape != in_b.shape) {
    difference.differing = std::max(in_a.count, in_b.count);
    return difference;
  }
  Piece of_a, of_b;
  for (int64_t first = 0; first < in_a.count; first += piece_elements) {
    const int64_t count = std::min(piece_elements, in_a.count - first);
    of_a.read(a, in_a, first, count);
    of_b.read(b, in_b, first, count);
    add_piece(difference, of_a, of_b, count);
  }
  return difference;
}

}  // namespace

TensorComparison compare_tensors(const CheckpointReader& a, const CheckpointReader& b,
                                 const std::function<bool(const std::string&)>& wanted) {
  TensorComparison all;
  const auto in_a = a.manifest().tensors(), in_b = b.manifest().tensors();
  for (const auto& [name, tensor] : in_b) {
    if (wanted(name) && !in_a.count(name)) all.only_in_b.push_back(name);
  }
  for (const auto& [name, tensor] : in_a) {
    if (!wanted(name)) continue;
    const auto other = in_b.find(name);
    if (other == in_b.end()) {
      all.only_in_a.push_back(name);
      continue;
    }
    ++all.compared;
    all.elements += tensor.count;
    const TensorDifference difference = compare(a, b, tensor, other->second);
    if (difference.differing > 0 || !difference.alike()) all.different.push_back(difference);
  }
  return all;
}

namespace {

// NaN is where there is no number yet, and alike in both.
bool same_number(double x, double y) { return x == y || (std::isnan(x) && std::isnan(y)); }

bool same_value(const StateValue& a, const StateValue& b) {
  if (a.index() != b.index()) return false;
  if (const double* x = std::get_if<double>(&a)) return same_number(*x, std::get<double>(b));
  const auto* list = std::get_if<std::vector<double>>(&a);
  if (!list) return a == b;
  const auto& other = std::get<std::vector<double>>(b);
  return std::equal(list->begin(), list->end(), other.begin(), other.end(), same_number);
}

}  // namespace

std::vector<std::string> differing_state(const CheckpointState& a, const CheckpointState& b) {
  std::vector<std::string> names;
  for (const auto& [name, value] : a) {
    const auto other = b.find(name);
    if (name != wall_time && (other == b.end() || !same_value(other->second, value))) names.push_back(name);
  }
  for (const auto& [name, value] : b) {
    if (name != wall_time && !a.count(name)) names.push_back(name);
  }
  return names;
}

}  // namespace braid
