// SPDX-License-Identifier: Apache-2.0
// braid checkpoint export --hf and import --hf: checkpoints as Hugging Face model folders and back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "models/hf_export.h"
#include "nn/model_config.h"

namespace braid {

// "5GB", "200MB", "10KB" or bytes; powers of 1000, as transformers counts them. UsageError.
int64_t parse_shard_size(const std::string& text);

// Writes the folder, and tells of it on standard output.
void export_hf_folder(const std::string& checkpoint, const std::string& folder, std::optional<h5::Element> element,
                      int64_t shard_bytes, Nf4Form nf4);

// The shape of the model in a checkpoint: from the run's configuration, or the folder it was imported from. UsageError:
// a checkpoint that says neither.
ModelConfig model_of(const Manifest& manifest, const std::string& checkpoint);

}  // namespace braid
