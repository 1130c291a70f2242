// SPDX-License-Identifier: Apache-2.0
#include "models/hf_weights.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "models/hf_layout.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

constexpr int64_t piece_bytes = 4 << 20;  // stays in the cache from the check to the conversion

at::ScalarType scalar_type(h5::Element element) {
  switch (element) {
    case h5::Element::float64:
      return at::kDouble;
    case h5::Element::float16:
      return at::kHalf;
    case h5::Element::bfloat16:
      return at::kBFloat16;
    default:
      return at::kFloat;
  }
}

std::string place_text(int64_t row, int64_t column, bool vector) {
  return vector ? str("[", column, "]") : str("[", row, ", ", column, "]");
}

// A box of a tensor of rows; a vector is one row.
struct RowsBox {
  int64_t width;  // of a whole row
  int64_t first_row, rows, first_column, columns;
  bool vector;
};

RowsBox rows_of(const Extent& shape, const Box& box) {
  if (shape.size() == 1) return {shape[0], 0, 1, box.origin[0], box.shape[0], true};
  return {shape[1], box.origin[0], box.shape[0], box.origin[1], box.shape[1], false};
}

void require_finite(const HfFiles::Found& found, const RowsBox& box, int64_t first, int64_t rows) {
  const SafeTensor& tensor = *found.tensor;
  const auto bytes = static_cast<int64_t>(h5::element_bytes(tensor.element));
  const bool whole = box.columns == box.width;  // then rows are one run
  for (int64_t row = first; row < first + rows; row += whole ? rows : 1) {
    const int64_t start = row * box.width + box.first_column, count = whole ? rows * box.width : box.columns;
    const int64_t bad = first_not_finite(tensor.element, found.data() + start * bytes, count);
    if (bad < 0) continue;
    const int64_t at = start + bad;
    throw UsageError(str(found.file->path(), ": tensor ", tensor.name,
                         ": expected finite weights, found NaN or infinity at ",
                         place_text(at / box.width, at % box.width, box.vector)));
  }
}

// Rows as they lie in the file, as a tensor [rows, columns] without a copy; a copy where the processor could not read
// them.
at::Tensor mapped_rows(const HfFiles::Found& found, const RowsBox& box, int64_t first, int64_t rows) {
  const SafeTensor& tensor = *found.tensor;
  const auto bytes = static_cast<int64_t>(h5::element_bytes(tensor.element));
  const auto options = at::TensorOptions().dtype(scalar_type(tensor.element));
  auto* data = const_cast<std::byte*>(found.data()) + first * box.width * bytes;  // only read
  if (reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(bytes) != 0) {
    at::Tensor aligned = at::empty({rows, box.width}, options);
    std::copy_n(data, rows * box.width * bytes, static_cast<std::byte*>(aligned.mutable_data_ptr()));
    return aligned.narrow(1, box.first_column, box.columns);
  }
  return at::from_blob(data, {rows, box.width}, options).narrow(1, box.first_column, box.columns);
}

// The part of a parameter's box that `tensor` fills: which box of the tensor, and which rows of the parameter's own, where
// the box begins at row `first`.
struct Part {
  Box box;
  int64_t first = 0, rows = 0;  // rows of what the parameter holds
};

Part part_of(const Box& slice, int64_t first, const HfTensor& tensor) {
  const int64_t low = std::max(slice.origin[0], tensor.first_row);
  const int64_t high = std::min(slice.origin[0] + slice.shape[0], tensor.first_row + tensor.shape[0]);
  Part part{slice, first + low - slice.origin[0], std::max<int64_t>(high - low, 0)};
  part.box.origin[0] = low - tensor.first_row;
  part.box.shape[0] = part.rows;
  return part;
}

void fill_part(Parameter& parameter, const Part& part, const HfFiles::Found& found, const HfLoadOptions& options) {
  const auto rows = [&](const at::Tensor& all) { return all.narrow(0, part.first, part.rows); };
  const bool has_master = parameter.master.defined(), has_copy = parameter.compute.defined();
  if (!has_master && !has_copy) throw Error(str("parameter ", parameter.name, " has no room for its values"));
  at::Tensor first = rows(has_master ? parameter.master : parameter.compute);
  read_hf_box(found, part.box, first, options);
  if (has_master && has_copy && !parameter.compute.is_alias_of(parameter.master)) rows(parameter.compute).copy_(first);
}

void fill(Parameter& parameter, const HfTensor& tensor, const HfFiles::Found& found, const HfLoadOptions& options) {
  int64_t first = 0;
  for (const Box& box : parameter.boxes()) {
    const Part part = part_of(box, first, tensor);
    if (part.rows > 0) fill_part(parameter, part, found, options);
    first += box.shape[0];
  }
}

// The rows of one parameter that are wanted elsewhere, while its tensors are read.
class LentRows {
 public:
  LentRows(const HfElsewhere& elsewhere, const HfLoadOptions& options, const at::Device& device)
      : elsewhere_(elsewhere), options_(options), device_(device) {}

  void fill(const Parameter& parameter, const HfTensor& tensor, const HfFiles::Found& found) {
    if (parameter_ != &parameter) begin(parameter);
    int64_t first = 0;
    for (const Box& box : parameter.boxes()) {
      read(part_of(box, first, tensor), found);
      first += box.shape[0];
    }
  }
  void store() {
    if (parameter_ && wanted_.count > 0) elsewhere_.store(*parameter_, wanted_.first, rows_);
    parameter_ = nullptr;
  }

 private:
  void begin(const Parameter& parameter) {
    store();
    parameter_ = &parameter;
    wanted_ = elsewhere_.wanted(parameter);
    std::vector<int64_t> shape = parameter.slice.shape;
    shape[0] = wanted_.count;
    rows_ = at::empty(shape, at::TensorOptions(at::kFloat).device(device_));
  }
  void read(Part part, const HfFiles::Found& found) {
    const int64_t low = std::max(part.first, wanted_.first);
    const int64_t high = std::min(part.first + part.rows, wanted_.first + wanted_.count);
    if (low >= high) return;
    part.box.origin[0] += low - part.first;
    part.box.shape[0] = high - low;
    read_hf_box(found, part.box, rows_.narrow(0, low - wanted_.first, high - low), options_);
  }

  const HfElsewhere& elsewhere_;
  const HfLoadOptions& options_;
  at::Device device_;
  const Parameter* parameter_ = nullptr;
  HfElsewhere::Rows wanted_;
  at::Tensor rows_;
};

}  // namespace

void read_hf_box(const HfFiles::Found& found, const Box& wanted, at::Tensor target, const HfLoadOptions& options) {
  const at::NoGradGuard no_gradient;
  const RowsBox box = rows_of(found.tensor->shape, wanted);
  const auto row_bytes = box.width * static_cast<int64_t>(h5::element_bytes(found.tensor->element));
  const int64_t step = std::max<int64_t>(1, piece_bytes / std::max<int64_t>(1, row_bytes));
  const at::Tensor out = box.vector ? target.unsqueeze(0) : target;
  for (int64_t done = 0; done < box.rows; done += step) {
    const int64_t rows = std::min(step, box.rows - done);
    if (options.check_finite) require_finite(found, box, box.first_row + done, rows);
    out.narrow(0, done, rows).copy_(mapped_rows(found, box, box.first_row + done, rows));
  }
}

void load_hf_weights(const HfFiles& files, const ModelConfig& config, ParameterSet& parameters,
                     const HfLoadOptions& options, const HfElsewhere* elsewhere) {
  ModelConfig whole = config;
  whole.held.clear();
  check_hf_tensors(files, whole);
  const at::NoGradGuard no_gradient;
  std::optional<LentRows> lent;
  if (elsewhere && elsewhere->store) lent.emplace(*elsewhere, options, parameters.master().device());
  for (const HfTensor& tensor : hf_layout(config)) {
    Parameter& parameter = parameters.named(tensor.parameter);
    if (parameter.shape != tensor.parameter_shape) {
      throw Error(str("parameter ", parameter.name, " is [", extent_text(parameter.shape), "], expected [",
                      extent_text(tensor.parameter_shape), "]"));
    }
    if (!parameter.stored) continue;
    if (lent && !parameter.master.defined()) {
      lent->fill(parameter, tensor, files.at(tensor.name));
    } else {
      fill(parameter, tensor, files.at(tensor.name), options);
    }
  }
  if (lent) lent->store();
}

}  // namespace braid
