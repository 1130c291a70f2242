// SPDX-License-Identifier: Apache-2.0
// Small model folders for tests.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/nf4.h"
#include "models/bnb_tensors.h"
#include "models/hf_config.h"
#include "models/hf_layout.h"
#include "store/element_convert.h"
#include "store/safetensors.h"

namespace braid::test {

// Grouped heads, an odd vocabulary, two layers.
inline ModelConfig small_llama(bool tied = false) {
  ModelConfig config;
  config.dialect = "llama";
  config.layers = 2;
  config.width = 12;
  config.heads = 6;
  config.kv_heads = 2;
  config.mlp_width = 10;
  config.vocabulary = 11;
  config.context = 16;
  config.tie_embeddings = tied;
  return config;
}

struct FileTensor {
  SafeTensor header;
  std::vector<std::byte> bytes;
};

inline FileTensor tensor_of(const std::string& name, h5::Element element, const Extent& shape,
                            const std::vector<double>& values) {
  FileTensor tensor{{name, element, shape, 0}, {}};
  tensor.bytes.resize(tensor.header.bytes());
  if (element == h5::Element::float16) {  // zeros but for the ends, which are 1.5 and -0.25
    const uint16_t ends[] = {0x3E00, 0xB400};
    std::memcpy(tensor.bytes.data(), &ends[0], 2);
    std::memcpy(tensor.bytes.data() + tensor.bytes.size() - 2, &ends[1], 2);
    return tensor;
  }
  convert_elements(h5::Element::float64, reinterpret_cast<const std::byte*>(values.data()), element,
                   tensor.bytes.data(), values.size());
  return tensor;
}

// Random weights of every tensor that a folder of this shape has.
inline std::vector<FileTensor> random_tensors(const ModelConfig& config, h5::Element element) {
  std::mt19937 generator(5);
  std::normal_distribution<double> normal(0.0, 0.5);
  std::vector<FileTensor> all;
  for (const HfTensor& tensor : hf_layout(config)) {
    std::vector<double> values(static_cast<size_t>(elements_of(tensor.shape)));
    for (double& value : values) value = normal(generator);
    all.push_back(tensor_of(tensor.name, element, tensor.shape, values));
  }
  return all;
}

inline FileTensor bytes_tensor(const std::string& name, const Extent& shape, const void* data) {
  FileTensor tensor{{name, h5::Element::uint8, shape, 0}, {}};
  tensor.bytes.resize(tensor.header.bytes());
  if (data) std::memcpy(tensor.bytes.data(), data, tensor.bytes.size());
  return tensor;
}

// The same folder as bitsandbytes writes it, double quantised; all codes are 0.
inline std::vector<FileTensor> nf4_tensors(const ModelConfig& config) {
  std::vector<FileTensor> all;
  const QuantisedProjections quantised(config);
  const std::vector<HfTensor> layout = hf_layout(config);
  std::vector<FileTensor> plain = random_tensors(config, h5::Element::float32);
  const auto add_floats = [&](const std::string& name, std::vector<double> values) {
    const auto count = static_cast<int64_t>(values.size());
    all.push_back(tensor_of(name, h5::Element::float32, {count}, values));
  };
  for (size_t i = 0; i < layout.size(); ++i) {
    const std::string& name = layout[i].name;
    if (layout[i].projection.empty() || !quantised.has(layout[i].projection)) {
      all.push_back(std::move(plain[i]));
      continue;
    }
    const int64_t count = elements_of(layout[i].shape);
    const double offset = 0.25;
    const std::string state = bnb_state_text(layout[i].shape, "float32", &offset);
    all.push_back(bytes_tensor(name, {kernels::nf4_bytes(count), 1}, nullptr));
    all.push_back(bytes_tensor(name + ".absmax", {kernels::nf4_blocks(count)}, nullptr));
    add_floats(name + ".quant_map", {std::begin(kernels::nf4_values), std::end(kernels::nf4_values)});
    add_floats(name + ".nested_absmax", std::vector<double>(static_cast<size_t>(kernels::nf4_nested_blocks(count)), 0.5));
    add_floats(name + ".nested_quant_map", std::vector<double>(256, 0.125));
    all.push_back(bytes_tensor(name + bnb_state_name, {static_cast<int64_t>(state.size())}, state.data()));
  }
  return all;
}

inline ModelConfig small_nf4_llama() {
  ModelConfig config = small_llama();
  config.quantise = "nf4";
  return config;
}

inline void write_weights(const std::string& path, const std::vector<FileTensor>& tensors) {
  std::vector<SafeTensor> headers;
  for (const FileTensor& tensor : tensors) headers.push_back(tensor.header);
  SafetensorsWriter writer(path, headers, {{"format", "pt"}});
  for (const FileTensor& tensor : tensors) writer.write(tensor.bytes.data(), tensor.bytes.size());
  writer.commit();
}

inline FileTensor& named(std::vector<FileTensor>& tensors, const std::string& name) {
  return *std::find_if(tensors.begin(), tensors.end(), [&](const FileTensor& t) { return t.header.name == name; });
}

}  // namespace braid::test
