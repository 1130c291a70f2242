// SPDX-License-Identifier: Apache-2.0
// Adapters in peft's files: FOLDER/adapter_config.json and FOLDER/adapter_model.safetensors (float32, names such as
// base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight).
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "models/peft_files.h"
#include "nn/parameter.h"

namespace braid {

// Fills `out` with the elements of one of those tensors.
using ReadAdapterTensor = std::function<void(const AdapterTensor& tensor, std::span<float> out)>;

// Writes both files; the weights are replaced when all are there. `base` is the model's folder or published name, which
// peft looks the base model up by; may be "". Error when a write fails.
void write_peft_adapter(const std::string& folder, const std::string& base, const ModelConfig& model,
                        const LoraConfig& lora, const ReadAdapterTensor& read);
// The same from weights in memory.
void write_peft_adapter(const std::string& folder, const std::string& base, const ModelConfig& model,
                        const LoraConfig& lora, ParameterSet& adapters);

// Fills the parameters of a LoraModel with what they hold of the weights of a folder. UsageError: what open_peft_weights
// refuses. `whole` are those of all of the model, of which ranks may hold a part each; none: the parameters themselves.
void load_peft_weights(const std::string& folder, ParameterSet& adapters, std::vector<AdapterTensor> whole = {});

}  // namespace braid
