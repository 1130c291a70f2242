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

// Every rank loads the whole model. With `quantise` "nf4" a folder of dense weights is held in 4 bits, as the defaults
// of the [model] table have it; one that bitsandbytes quantised always is. UsageError names file, field or tensor.
AdaptedModel load_adapted_model(const std::string& folder, const std::string& adapter, Precision precision,
                                const at::Device& device, const std::string& quantise = "none");

}  // namespace braid
