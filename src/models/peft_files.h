// SPDX-License-Identifier: Apache-2.0
// Which tensors an adapter has, their names in FOLDER/adapter_model.safetensors, and whether such a file is sound.
// Knows no torch.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nn/lora_config.h"
#include "store/safetensors.h"

namespace braid {

// A tensor as LoraModel::parameters() names and shapes it.
struct AdapterTensor {
  std::string name;  // "layers.3.self_attn.q_proj.lora_A.weight"
  std::vector<int64_t> shape;
};

// What an adapter consists of, in the order of the layers.
std::vector<AdapterTensor> adapter_tensors(const ModelConfig& model, const LoraConfig& lora);

inline constexpr const char* peft_weights_name = "adapter_model.safetensors";

// "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight"
std::string peft_name(const std::string& name);

// The file of a folder, with every one of `tensors` in its shape, finite, as F64, F32, BF16 or F16, and nothing that has
// no place. UsageError names file, tensor and what was expected.
std::unique_ptr<SafetensorsFile> open_peft_weights(const std::string& folder, const std::vector<AdapterTensor>& tensors);

}  // namespace braid
