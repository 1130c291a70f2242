// SPDX-License-Identifier: Apache-2.0
#include "experiments/adapted_model.h"

#include "models/hf_model.h"
#include "models/peft_adapter.h"
#include "models/peft_config.h"

namespace braid {

AdaptedModel load_adapted_model(const std::string& folder, const std::string& adapter, Precision precision,
                                const at::Device& device, const std::string& quantise) {
  AdaptedModel loaded{read_hf_config(folder), nullptr, nullptr};
  if (!loaded.config.model.is_quantised()) loaded.config.model.quantise = quantise;
  const HfFiles files(folder);
  loaded.model = std::make_unique<Transformer>(loaded.config.model, precision, device, Weights::frozen);
  load_hf_model(files, *loaded.model);
  if (adapter.empty()) return loaded;
  const LoraConfig lora = read_peft_config(adapter, loaded.config.model);
  loaded.adapters = std::make_unique<LoraModel>(*loaded.model, lora, 0);
  load_peft_weights(adapter, loaded.adapters->parameters());
  return loaded;
}

}  // namespace braid
