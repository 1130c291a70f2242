// SPDX-License-Identifier: Apache-2.0
// adapter_config.json.
#pragma once

#include <string>

#include "nn/lora_config.h"

namespace braid {

// adapter_config.json as a [lora] table. UsageError "FOLDER/adapter_config.json: field: expected …, found …", also for
// kinds of adapters that Braid has not.
LoraConfig read_peft_config(const std::string& folder, const ModelConfig& model);

// The other way; `base` is the model's folder or published name, which peft looks the base model up by, or "".
std::string peft_config_text(const LoraConfig& lora, const std::string& base);

}  // namespace braid
