// SPDX-License-Identifier: Apache-2.0
// What the probes read from Python and write for it.
#pragma once

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "nn/precompiled.h"
#include "store/safetensors.h"

namespace braid::test {

using Named = std::vector<std::pair<std::string, at::Tensor>>;

// A tensor of int64.
inline at::Tensor read_ids(const SafetensorsFile& file, const char* name) {
  const SafeTensor* tensor = file.find(name);
  if (!tensor) throw Error(str(file.path(), ": no ", name));
  at::Tensor ids = at::empty(tensor->shape, at::kLong);
  std::memcpy(ids.mutable_data_ptr(), file.data(*tensor), tensor->bytes());
  return ids;
}

// All as float64.
inline void write_tensors(const std::string& path, const Named& all) {
  std::vector<SafeTensor> headers;
  std::vector<at::Tensor> values;
  for (const auto& [name, tensor] : all) {
    values.push_back(tensor.to(at::kDouble).contiguous());
    headers.push_back({name, h5::Element::float64, tensor.sizes().vec(), 0});
  }
  SafetensorsWriter writer(path, headers, {});
  for (const at::Tensor& tensor : values) {
    writer.write(static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes());
  }
  writer.commit();
}

}  // namespace braid::test
