// SPDX-License-Identifier: Apache-2.0
#include "experiments/adapted_model.h"

#include "models/hf_weights.h"
#include "models/memory_folder.h"
#include "models/peft_adapter.h"
#include "models/peft_config.h"

namespace braid {

void AdaptedModel::set_enabled(bool enabled) {
  if (adapters) adapters->set_enabled(enabled);
  if (memory) memory->set_enabled(enabled);
}

AdaptedModel load_adapted_model(const ModelFolders& folders, Precision precision, const at::Device& device) {
  AdaptedModel loaded{read_hf_config(folders.model), nullptr, nullptr, nullptr};
  const HfFiles files(folders.model);
  loaded.model = std::make_unique<Transformer>(loaded.config.model, precision, device, Weights::frozen);
  load_hf_weights(files, loaded.config.model, loaded.model->parameters());
  if (!folders.adapter.empty()) {
    const LoraConfig lora = read_peft_config(folders.adapter, loaded.config.model);
    loaded.adapters = std::make_unique<LoraModel>(*loaded.model, lora, 0);
    load_peft_weights(folders.adapter, loaded.adapters->parameters());
  }
  if (!folders.memory.empty()) loaded.memory = load_memory_folder(folders.memory, *loaded.model);
  return loaded;
}

}  // namespace braid
