// SPDX-License-Identifier: Apache-2.0
#include "models/parameter_file.h"

#include <algorithm>

#include "base/error.h"
#include "models/hf_layout.h"
#include "nn/precompiled.h"
#include "store/element_convert.h"

namespace braid {

namespace {

// float64 as it is, the others as float32.
at::Tensor read_values(const SafetensorsFile& file, const SafeTensor& tensor) {
  const std::string where = str(file.path(), ": ", tensor.name, ": ");
  const bool wide = tensor.element == h5::Element::float64;
  const bool narrow = tensor.element == h5::Element::float32 || tensor.element == h5::Element::bfloat16 ||
                      tensor.element == h5::Element::float16;
  if (!wide && !narrow) throw UsageError(where + "expected elements F64, F32, BF16 or F16");
  at::Tensor values = at::empty(tensor.shape, wide ? at::kDouble : at::kFloat);
  const int64_t bad = first_not_finite(tensor.element, file.data(tensor), values.numel());
  if (bad >= 0) throw UsageError(str(where, "expected finite weights, element ", bad, " is not"));
  convert_elements(tensor.element, file.data(tensor), wide ? h5::Element::float64 : h5::Element::float32,
                   static_cast<std::byte*>(values.mutable_data_ptr()), static_cast<size_t>(values.numel()));
  return values;
}

}  // namespace

void load_parameter(const SafetensorsFile& file, const std::string& name, Parameter& parameter,
                    const std::string& announced) {
  const std::string where = str(file.path(), ": ", name, ": ");
  const SafeTensor* tensor = file.find(name);
  if (!tensor) throw UsageError(str(where, "expected by ", announced, ", and not there"));
  if (!std::equal(tensor->shape.begin(), tensor->shape.end(), parameter.shape.begin(), parameter.shape.end())) {
    throw UsageError(str(where, "expected shape [", extent_text(Extent(parameter.shape.begin(), parameter.shape.end())),
                         "], found [", extent_text(tensor->shape), "]"));
  }
  parameter.master.copy_(read_values(file, *tensor));
}

}  // namespace braid
