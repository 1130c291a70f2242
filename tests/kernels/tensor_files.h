// SPDX-License-Identifier: Apache-2.0
// Named arrays out of and into safetensors files, for programs that let Python compare kernels with other people's.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "store/safetensors.h"

namespace braid::test {

struct Array {
  h5::Element element = h5::Element::float32;
  Extent shape;
  std::vector<std::byte> bytes;

  int64_t count() const { return elements_of(shape); }
  template <class T>
  const T* as() const { return reinterpret_cast<const T*>(bytes.data()); }
  template <class T>
  T* as() { return reinterpret_cast<T*>(bytes.data()); }
};

using Arrays = std::map<std::string, Array>;

inline Array zeros(h5::Element element, Extent shape) {
  Array array{element, std::move(shape), {}};
  array.bytes.resize(size_t(array.count()) * h5::element_bytes(element));
  return array;
}

inline Arrays read_arrays(const std::string& path) {
  const SafetensorsFile file(path);
  Arrays arrays;
  for (const SafeTensor& tensor : file.tensors()) {
    Array& array = arrays[tensor.name] = zeros(tensor.element, tensor.shape);
    std::memcpy(array.bytes.data(), file.data(tensor), tensor.bytes());
  }
  return arrays;
}

inline void write_arrays(const std::string& path, const Arrays& arrays) {
  std::vector<SafeTensor> tensors;
  for (const auto& [name, array] : arrays) tensors.push_back({name, array.element, array.shape, 0});
  SafetensorsWriter writer(path, tensors, {});
  for (const auto& [name, array] : arrays) writer.write(array.bytes.data(), array.bytes.size());
  writer.commit();
}

}  // namespace braid::test
