// SPDX-License-Identifier: Apache-2.0
// A model with its adapters merged, as a Hugging Face model folder.
#pragma once

#include <string>

#include "models/hf_export.h"
#include "nn/lora_model.h"

namespace braid {

// Merges `adapters` into `model`, for good, and writes it as export_hf does. `origin` is the base model's configuration
// and with it what is kept of its config.json. Embedding and head that were one and are two now are written as two.
// UsageError: weights in 4 bits, which what is merged does not fit; an adapter on a head that is the embedding, which cannot take the one without the other.
HfExported export_merged_hf(Transformer& model, LoraModel& adapters, const HfConfig& origin, const std::string& folder,
                            const HfExportOptions& options);

}  // namespace braid
