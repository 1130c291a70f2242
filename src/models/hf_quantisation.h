// SPDX-License-Identifier: Apache-2.0
// quantization_config of a config.json, as transformers writes it for models that bitsandbytes holds in 4 bits.
#pragma once

#include <nlohmann/json.hpp>

#include "models/json_fields.h"
#include "nn/model_config.h"

namespace braid {

// Fills `model` from the object where the file has one. UsageError: another method than bitsandbytes, 8 bits, or
// another code than NF4.
void read_quantisation(const nlohmann::json& config, const JsonFields& fields, ModelConfig& model);

// The object for a model in NF4; `dtype` is the type of its other weights ("bfloat16").
nlohmann::ordered_json quantisation_object(const ModelConfig& model, const std::string& dtype);

}  // namespace braid
