// SPDX-License-Identifier: Apache-2.0
// A model folder and, perhaps, an adapter and a hash memory on top, ready to be asked: what generation and evaluations
// begin with.
#pragma once

#include <memory>
#include <string>

#include "models/hf_config.h"
#include "nn/hash_memory.h"
#include "nn/lora_model.h"

namespace braid {

struct AdaptedModel {
  HfConfig config;
  std::unique_ptr<Transformer> model;   // frozen
  std::unique_ptr<LoraModel> adapters;  // on; null without a folder of them
  std::unique_ptr<HashMemory> memory;   // likewise

  bool is_adapted() const { return adapters || memory; }
  void set_enabled(bool enabled);  // both
};

struct ModelFolders {
  std::string model, adapter, memory;  // "": none
};

// Every rank loads the whole model. UsageError names file, field or tensor.
AdaptedModel load_adapted_model(const ModelFolders& folders, Precision precision, const at::Device& device);

}  // namespace braid
