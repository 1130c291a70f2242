// SPDX-License-Identifier: Apache-2.0
// A model folder and, perhaps, an adapter on top, ready to be asked: what generation and evaluations begin with.
#pragma once

#include <memory>
#include <string>

#include "models/hf_config.h"
#include "nn/lora_model.h"

namespace braid {

struct AdaptedModel {
  HfConfig config;
  std::unique_ptr<Transformer> model;   // frozen
  std::unique_ptr<LoraModel> adapters;  // on; null without a folder of them
};

// Every rank loads the whole model. UsageError names file, field or tensor.
AdaptedModel load_adapted_model(const std::string& folder, const std::string& adapter, Precision precision,
                                const at::Device& device);

}  // namespace braid
