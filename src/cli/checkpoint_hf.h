// SPDX-License-Identifier: Apache-2.0
// braid checkpoint export --hf and import --hf: checkpoints as Hugging Face model folders and back.
#pragma once

#include <cstdint>
#include <string>

#include "models/hf_export.h"

namespace braid {

// "5GB", "200MB", "10KB" or bytes; powers of 1000, as transformers counts them. UsageError.
int64_t parse_shard_size(const std::string& text);

// Both write the folder, and tell of it on standard output; the tokenizer's folder is found here. UsageError: adapters
// alone.
void export_hf_folder(const std::string& checkpoint, const std::string& folder, HfExportOptions options);

// The base model of a run with [lora] with the checkpoint's adapters merged, in the base's element type unless
// `options.element` says otherwise. UsageError: a run without adapters.
void export_merged_folder(const std::string& checkpoint, const std::string& folder, HfExportOptions options);

}  // namespace braid
