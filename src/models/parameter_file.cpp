// SPDX-License-Identifier: Apache-2.0
#include "models/parameter_file.h"

#include "nn/precompiled.h"
#include "store/element_convert.h"

namespace braid {

// float64 as it is, the others as float32.
void fill_parameter(Parameter& parameter, const SafetensorsFile& file, const SafeTensor& tensor) {
  const bool wide = tensor.element == h5::Element::float64;
  at::Tensor values = at::empty(tensor.shape, wide ? at::kDouble : at::kFloat);
  convert_elements(tensor.element, file.data(tensor), wide ? h5::Element::float64 : h5::Element::float32,
                   static_cast<std::byte*>(values.mutable_data_ptr()), static_cast<size_t>(values.numel()));
  take_values(parameter, values);
}

}  // namespace braid
