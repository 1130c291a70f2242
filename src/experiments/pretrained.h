// SPDX-License-Identifier: Apache-2.0
// A run that begins with a Hugging Face model folder (model.path) instead of drawn weights, and with an adapter in peft's
// format (lora.path) instead of a new one.
#pragma once

#include <string>

#include "base/config.h"
#include "comm/communicator.h"
#include "models/hf_weights.h"
#include "nn/lora_model.h"
#include "store/run_file.h"

namespace braid {

// The shape in model.path's config.json becomes the model's. Its context may be given shorter. UsageError: a key of the
// document that contradicts the folder, by name. A folder of dense weights may be quantised as it is loaded:
// what the document says of that contradicts nothing.
void take_shape(ModelConfig& model, const ConfigDocument& document);

// What lora.path's adapter_config.json says becomes `lora`; `model` has its shape already. The document may give another
// dropout, and what is peft's not to know (b_rate). UsageError: a key of the document that contradicts the folder, by name.
void take_adapter(LoraConfig& lora, const ModelConfig& model, const ConfigDocument& document);

// What run.h5 and every checkpoint of the run say of the folder, nothing without one (models/hf_export.h). Rank 0 reads
// the weights' files for their digest and copies the tokenizer's to OUT/tokenizer, where exports find them. Collective.
RunAttributes record_pretrained(const ModelConfig& model, const std::string& out, Communicator& host);

// Weights of `whole` from its path; every rank reads what it holds, or wants `elsewhere` (models/hf_weights.h). Errors are
// agreed on. Collective.
void load_pretrained(Transformer& model, const ModelConfig& whole, Communicator& host, const HfElsewhere* elsewhere = nullptr);

// What is here of the adapters' weights of the `whole` model from lora.path, if it is given. Errors are agreed on. Collective.
void load_adapter(LoraModel& adapters, const ModelConfig& whole, Communicator& host);

}  // namespace braid
