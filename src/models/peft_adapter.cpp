// SPDX-License-Identifier: Apache-2.0
#include "models/peft_adapter.h"

#include <filesystem>

#include "base/error.h"
#include "models/parameter_file.h"
#include "models/peft_config.h"
#include "nn/precompiled.h"
#include "store/posix_file.h"

namespace braid {

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
  SafetensorsWriter writer(str(folder, "/", peft_weights_name), described, {{"format", "pt"}});
  for (const AdapterTensor& tensor : tensors) {
    std::vector<float> values(static_cast<size_t>(elements_of(tensor.shape)));
    read(tensor, values);
    writer.write(reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float));
  }
  replace_text_file(folder + "/adapter_config.json", peft_config_text(lora, base));
  writer.commit();
}

void write_peft_adapter(const std::string& folder, const std::string& base, const ModelConfig& model,
                        const LoraConfig& lora, ParameterSet& adapters) {
  write_peft_adapter(folder, base, model, lora, [&](const AdapterTensor& tensor, std::span<float> out) {
    const at::Tensor values = adapters.named(tensor.name).master.to(at::kCPU, at::kFloat).contiguous();
    std::copy_n(values.const_data_ptr<float>(), out.size(), out.begin());
  });
}

void load_peft_weights(const std::string& folder, ParameterSet& adapters, std::vector<AdapterTensor> whole) {
  const at::NoGradGuard no_gradient;
  if (whole.empty()) {
    for (const Parameter& parameter : adapters.all()) whole.push_back({parameter.name, parameter.shape});
  }
  const auto file = open_peft_weights(folder, whole);
  for (Parameter& parameter : adapters.all()) fill_parameter(parameter, *file, *file->find(peft_name(parameter.name)));
  adapters.refresh_compute();
}

}  // namespace braid
