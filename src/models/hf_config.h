// SPDX-License-Identifier: Apache-2.0
// config.json and generation_config.json of a Hugging Face model folder as a ModelConfig of the llama dialect, and
// back. Read are the fields of LlamaForCausalLM (huggingface.co/docs/transformers, LlamaConfig) with its defaults for
// those that are left out, as transformers wrote them up to version 4 (rope_theta, rope_scaling, torch_dtype) and since
// (rope_parameters, dtype). What would change the numbers and is not built here is refused by name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/model_config.h"
#include "store/h5.h"

namespace braid {

struct HfConfig {
  ModelConfig model;              // its context is max_position_embeddings
  std::vector<int64_t> stop_ids;  // tokens that end a text; may be none
  std::string text;               // config.json as it is
  std::string generation_text;    // generation_config.json as it is, "" where there is none
};

// UsageError "FOLDER/config.json: field: expected …, found …".
HfConfig read_hf_config(const std::string& folder);
// The same from the texts of the two files; `folder` is for messages.
HfConfig parse_hf_config(const std::string& text, const std::string& generation_text, const std::string& folder);

// config.json of a model whose weights, but for those in NF4, are stored as `element`. `origin`: the config.json that the
// model began with, "" for none; its other fields (special tokens, the longest context) are kept. UsageError: a model
// that transformers' Llama cannot be.
std::string hf_config_text(const ModelConfig& model, h5::Element element, const std::string& origin);

// generation_config.json for a model that has none: it ends at no token.
std::string plain_generation_text();

}  // namespace braid
