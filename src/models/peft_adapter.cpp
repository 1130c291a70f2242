// SPDX-License-Identifier: Apache-2.0
#include "models/peft_adapter.h"

#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"
#include "models/hf_layout.h"
#include "models/parameter_file.h"
#include "models/peft_config.h"
#include "nn/precompiled.h"

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
    const std::string name = peft_name(parameter.name);
    places.insert(name);
    load_parameter(file, name, parameter, "adapter_config.json");
  }
  for (const SafeTensor& tensor : file.tensors()) {
    if (places.count(tensor.name) || is_base_weight(tensor.name)) continue;
    throw UsageError(str(file.path(), ": ", tensor.name, ": has no place in this adapter"));
  }
  adapters.refresh_compute();
}

}  // namespace braid
