// SPDX-License-Identifier: Apache-2.0
#include "models/peft_files.h"

#include <set>

#include "base/error.h"
#include "models/announced_tensor.h"

namespace braid {

namespace {

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

std::string peft_name(const std::string& name) {
  const bool outside = name.starts_with("lm_head.");
  return str("base_model.model.", outside ? "" : "model.", name);
}

std::unique_ptr<SafetensorsFile> open_peft_weights(const std::string& folder, const std::vector<AdapterTensor>& tensors) {
  auto file = open_announced(str(folder, "/", peft_weights_name));
  std::set<std::string> places;
  for (const AdapterTensor& tensor : tensors) {
    const std::string name = peft_name(tensor.name);
    places.insert(name);
    announced_tensor(*file, name, Extent(tensor.shape.begin(), tensor.shape.end()), "adapter_config.json");
  }
  for (const SafeTensor& tensor : file->tensors()) {
    if (places.count(tensor.name) || is_base_weight(tensor.name)) continue;
    throw UsageError(str(file->path(), ": ", tensor.name, ": has no place in this adapter"));
  }
  return file;
}

}  // namespace braid
