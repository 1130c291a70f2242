// SPDX-License-Identifier: Apache-2.0
// A checkpoint as a Hugging Face model folder that transformers loads, and such a folder as a checkpoint that a run can
// begin with (--resume).
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "models/hf_config.h"
#include "store/checkpoint_convert.h"

namespace braid {

// Attributes of a checkpoint, or of the run it is of, that began with a model folder.
inline constexpr const char* hf_config_attribute = "hf_config";                 // config.json as it was
inline constexpr const char* hf_generation_attribute = "hf_generation_config";  // generation_config.json, "" for none
inline constexpr const char* model_path_attribute = "model_path";               // the folder
inline constexpr const char* model_digest_attribute = "model_digest";  // "crc32c:1a2b3c4d" of its weights' files

// Reads the folder's files in full for the digest.
RunAttributes hf_attributes(const std::string& folder, const HfConfig& config, uint32_t digest);

// Absmax in float32 (single), or in 8 bits themselves.
enum class Nf4Form { none, single_absmax, double_quantised };

struct HfExportOptions {
  std::optional<h5::Element> element;                     // bfloat16 or float32; none: as stored
  int64_t shard_bytes = int64_t{5} * 1000 * 1000 * 1000;  // a file of weights ends before it grows beyond this
  Nf4Form nf4 = Nf4Form::none;                            // of the projections
  std::string tokenizer_folder;                           // whose tokenizer files are copied; "" for none
};

struct HfExported {
  Converted weights;
  int64_t files = 0;                // of weights
  std::vector<std::string> copied;  // tokenizer files
};

// Verifies the checkpoint, then writes config.json, generation_config.json, model.safetensors (or shards with an index)
// and what tokenizer files there are into `folder`, which is made, or empty. `model` is the checkpoint's shape.
// With NF4 the quantised projections of one file at a time are in memory; transformers and bitsandbytes load the
// folder. UsageError: a model that transformers' Llama cannot be, or `folder` holds files. Error.
HfExported export_hf(const std::string& checkpoint, const ModelConfig& model, const std::string& folder,
                     const HfExportOptions& options);

// Where an export takes a model from, by the names of Braid's parameters.
struct HfExportSource {
  std::function<h5::Element(const std::string& parameter)> element;  // as it is stored
  // A run of a parameter's elements, converted to `element`.
  std::function<void(const TensorSlice& run, h5::Element element, std::byte* to)> read;
  std::string config, generation;  // config.json and generation_config.json that it began with, "" for none
};

// The same of a model that is no checkpoint.
HfExported export_hf(const HfExportSource& source, const ModelConfig& model, const std::string& folder,
                     const HfExportOptions& options);

// The tokenizer's files of `from`, as far as it has any, into `to`, which is made for them. Returns their names. Error.
std::vector<std::string> copy_tokenizer(const std::string& from, const std::string& to);

// Makes `checkpoint` of step 0 from a model folder, its elements as they are stored; see import_slices. Its attributes
// hold the folder's configuration. UsageError: what check_hf_tensors refuses, weights that are not finite, or
// projections of one layer that Braid packs and that have different types, or that bitsandbytes quantised.
Converted import_hf(const std::string& folder, const std::string& checkpoint, ImportOptions options);

}  // namespace braid
