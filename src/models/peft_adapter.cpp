// SPDX-License-Identifier: Apache-2.0
#include "models/peft_adapter.h"

#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"
#include "models/hf_layout.h"
#include "models/peft_config.h"
#include "nn/precompiled.h"
#include "store/element_convert.h"
#include "store/safetensors.h"

namespace braid {

namespace {

constexpr const char* weights_name = "/adapter_model.safetensors";

std::string peft_name(const std::string& name) {
  const bool outside = name.starts_with("lm_head.");
  return str("base_model.model.", outside ? "" : "model.", name);
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.close();
  if (!file) throw Error(str(path, ": cannot be written"));
}

// Weights of any float type: float64 as they are, the others as float32.
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

// peft saves the weight of an adapted lm_head with the adapter: the base model has it.
bool is_base_weight(const std::string& name) { return name.ends_with(".base_layer.weight"); }

}  // namespace

std::vector<AdapterTensor> adapter_tensors(const ModelConfig& model, const LoraConfig& lora) {
  std::vector<AdapterTensor> all;
  for (const std::string& module : lora.saved_modules) all.push_back({module + ".weight", {model.vocabulary, model.width}});
  for (const LoraTarget& target : lora_targets(model, lora)) {
    const ProjectionShape& shape = target.shape;
    all.push_back({shape.module + ".lora_A.weight", {target.rank, shape.in}});
    all.push_back({shape.module + ".lora_B.weight", {shape.out, target.rank}});
    if (lora.dora) all.push_back({shape.module + ".lora_magnitude_vector", {shape.out}});
  }
  return all;
}

void write_peft_adapter(const std::string& folder, const std::string& base, const ModelConfig& model,
                        const LoraConfig& lora, const ReadAdapterTensor& read) {
  std::error_code problem;
  std::filesystem::create_directories(folder, problem);
  if (problem) throw Error(str(folder, ": cannot be made: ", problem.message()));
  const std::vector<AdapterTensor> tensors = adapter_tensors(model, lora);
  std::vector<SafeTensor> described;
  for (const AdapterTensor& tensor : tensors) {
    described.push_back({peft_name(tensor.name), h5::Element::float32, Extent(tensor.shape.begin(), tensor.shape.end()), 0});
  }
  SafetensorsWriter writer(folder + weights_name, described, {{"format", "pt"}});
  for (const AdapterTensor& tensor : tensors) {
    std::vector<float> values(static_cast<size_t>(elements_of(tensor.shape)));
    read(tensor, values);
    writer.write(reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float));
  }
  write_text(folder + "/adapter_config.json", peft_config_text(lora, base));
  writer.commit();
}

void write_peft_adapter(const std::string& folder, const std::string& base, const ModelConfig& model,
                        const LoraConfig& lora, ParameterSet& adapters) {
  write_peft_adapter(folder, base, model, lora, [&](const AdapterTensor& tensor, std::span<float> out) {
    const at::Tensor values = adapters.named(tensor.name).master.to(at::kCPU, at::kFloat).contiguous();
    std::copy_n(values.const_data_ptr<float>(), out.size(), out.begin());
  });
}

void load_peft_weights(const std::string& folder, ParameterSet& adapters) {
  const at::NoGradGuard no_gradient;
  const SafetensorsFile file(folder + weights_name);
  std::set<std::string> places;
  for (Parameter& parameter : adapters.all()) {
    const std::string name = peft_name(parameter.name), where = str(file.path(), ": ", name, ": ");
    places.insert(name);
    const SafeTensor* tensor = file.find(name);
    if (!tensor) throw UsageError(where + "expected by adapter_config.json, and not there");
    if (!std::equal(tensor->shape.begin(), tensor->shape.end(), parameter.shape.begin(), parameter.shape.end())) {
      throw UsageError(str(where, "expected shape [", extent_text(Extent(parameter.shape.begin(), parameter.shape.end())),
                           "], found [", extent_text(tensor->shape), "]"));
    }
    parameter.master.copy_(read_values(file, *tensor));
  }
  for (const SafeTensor& tensor : file.tensors()) {
    if (places.count(tensor.name) || is_base_weight(tensor.name)) continue;
    throw UsageError(str(file.path(), ": ", tensor.name, ": has no place in this adapter"));
  }
  adapters.refresh_compute();
}

}  // namespace braid
