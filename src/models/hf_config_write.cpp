// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/hf_config.h"
#include "models/hf_quantisation.h"

namespace braid {

using Json = nlohmann::ordered_json;

namespace {

// rope_type and its values under the names of transformers; the same object serves as rope_parameters and, without
// rope_theta, as the older rope_scaling.
Json rope_object(const ModelConfig& model) {
  const RopeScaling& rope = model.rope;
  Json object = {{"rope_type", rope.kind == "none" ? "default" : rope.kind}};
  if (rope.kind == "none") return object;
  object["factor"] = rope.factor;
  if (rope.kind == "linear") return object;
  object["original_max_position_embeddings"] = rope.original_context;
  if (rope.kind == "llama3") {
    object["low_freq_factor"] = rope.low_frequency;
    object["high_freq_factor"] = rope.high_frequency;
  } else {
    object["beta_fast"] = rope.beta_fast;
    object["beta_slow"] = rope.beta_slow;
    if (rope.attention > 0) object["attention_factor"] = rope.attention;
  }
  return object;
}

// Readers before version 5 of transformers know rope_theta and rope_scaling only, later ones take both forms.
void write_rotary(const ModelConfig& model, Json& config) {
  const Json rope = rope_object(model);
  config["rope_theta"] = model.rope_theta;
  config["rope_scaling"] = model.rope.kind == "none" ? Json() : rope;
  config["rope_parameters"] = rope;
  config["rope_parameters"]["rope_theta"] = model.rope_theta;
}

void write_shape(const ModelConfig& model, Json& config) {
  config["architectures"] = {"LlamaForCausalLM"};
  config["model_type"] = "llama";
  config["vocab_size"] = model.vocabulary;
  config["hidden_size"] = model.width;
  config["intermediate_size"] = model.mlp_width;
  config["num_hidden_layers"] = model.layers;
  config["num_attention_heads"] = model.heads;
  config["num_key_value_heads"] = model.key_value_heads();
  config["head_dim"] = model.head_width();
  config["hidden_act"] = "silu";
  config["rms_norm_eps"] = model.norm_epsilon;
  config["tie_word_embeddings"] = model.tie_embeddings;
  config["attention_bias"] = false;
  config["mlp_bias"] = false;
}

void require_llama(const ModelConfig& model) {
  if (!model.is_llama()) {
    throw UsageError(str("model.dialect: expected llama, which transformers has, found ", model.dialect));
  }
  if (model.has_streams()) {
    throw UsageError(
        str("model.residual: expected residual, as transformers' Llama has one stream, found ", model.residual));
  }
}

}  // namespace

std::string hf_config_text(const ModelConfig& model, h5::Element element, const std::string& origin) {
  require_llama(model);
  Json config = origin.empty() ? Json::object() : Json::parse(origin);
  write_shape(model, config);
  write_rotary(model, config);
  if (!config.contains("max_position_embeddings")) config["max_position_embeddings"] = model.context;
  const char* type = config.contains("dtype") ? "dtype" : "torch_dtype";
  config[type] = h5::element_name(element);
  config.erase("quantization_config");
  if (model.is_quantised()) config["quantization_config"] = quantisation_object(model, h5::element_name(element));
  // Left out, these would be 1 and 2 for transformers, which are tokens like others here.
  if (origin.empty()) config["bos_token_id"] = config["eos_token_id"] = config["pad_token_id"] = Json();
  return config.dump(2) + "\n";
}

std::string plain_generation_text() {
  const Json config = {{"_from_model_config", true}, {"bos_token_id", Json()}, {"eos_token_id", Json()}};
  return config.dump(2) + "\n";
}

}  // namespace braid
