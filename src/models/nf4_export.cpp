// SPDX-License-Identifier: Apache-2.0
#include "models/nf4_export.h"

#include <algorithm>

#include "base/error.h"
#include "models/bnb_tensors.h"
#include "nn/precompiled.h"
#include "nn/quantised_weight.h"

namespace braid {

namespace {

at::Tensor read_rows(const HfExportSource& source, const TensorSlice& rows, const Extent& shape, bool narrow) {
  at::Tensor values = at::empty(shape, narrow ? at::kBFloat16 : at::kFloat);
  source.read(rows, narrow ? h5::Element::bfloat16 : h5::Element::float32,
              static_cast<std::byte*>(values.mutable_data_ptr()));
  return values;
}

at::Tensor bytes_of(const std::string& text) {
  at::Tensor bytes = at::empty({int64_t(text.size())}, at::kByte);
  std::copy(text.begin(), text.end(), bytes.mutable_data_ptr<uint8_t>());
  return bytes;
}

at::Tensor nf4_map() { return at::tensor(at::ArrayRef<float>(kernels::nf4_values, 16)); }

}  // namespace

std::vector<HeldTensor> quantise_to_bnb(const HfExportSource& source, const TensorSlice& rows,
                                        const HfTensor& tensor, h5::Element element, bool nested) {
  const Nf4Tensor made =
      quantise_nf4(read_rows(source, rows, tensor.shape, element == h5::Element::bfloat16), nested);
  std::vector<HeldTensor> all;
  const auto add = [&](const std::string& part, const at::Tensor& values) {
    const h5::Element kind = values.scalar_type() == at::kByte ? h5::Element::uint8 : h5::Element::float32;
    all.push_back({{tensor.name + part, kind, values.sizes().vec(), 0}, values});
  };
  add("", made.packed.unsqueeze(1));
  add(".absmax", nested ? made.codes : made.absmax);
  add(".quant_map", nf4_map());
  if (nested) add(".nested_absmax", made.absmax);
  if (nested) add(".nested_quant_map", made.map);
  add(bnb_state_name,
      bytes_of(bnb_state_text(tensor.shape, h5::element_name(element), nested ? &made.offset : nullptr)));
  return all;
}

}  // namespace braid
