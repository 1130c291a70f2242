// SPDX-License-Identifier: Apache-2.0
#include "models/hf_config.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/hf_quantisation.h"

namespace braid {

using nlohmann::json;

namespace {

constexpr int64_t most_tokens = int64_t{1} << 31;
constexpr double smallest = 1e-30;

// Fields that must be what Braid computes.
void require_known_kind(const json& object, const JsonFields& fields) {
  const std::vector<std::string> known = {"LlamaForCausalLM"};
  if (fields.has("architectures") && object["architectures"] != json(known)) {
    fields.refuse("architectures", "[\"LlamaForCausalLM\"]");
  }
  if (fields.text("model_type", "") != "llama") fields.refuse("model_type", "\"llama\"");
  const std::string activation = fields.text("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") fields.refuse("hidden_act", "\"silu\"");
  for (const char* bias : {"attention_bias", "mlp_bias"}) {
    if (fields.flag(bias, false)) fields.refuse(bias, "false, because the llama dialect has no biases");
  }
}

void read_llama3(const JsonFields& rope, RopeScaling& scaling) {
  scaling.low_frequency = rope.number("low_freq_factor", smallest, 0);
  scaling.high_frequency = rope.number("high_freq_factor", smallest, 0);
  if (scaling.low_frequency == 0) rope.refuse("low_freq_factor", "a number above 0");
  if (scaling.high_frequency <= scaling.low_frequency) rope.refuse("high_freq_factor", "more than low_freq_factor");
}

double yarn_scale(double factor, double scale) { return factor <= 1 ? 1 : 0.1 * scale * std::log(factor) + 1; }

void read_yarn(const JsonFields& rope, RopeScaling& scaling) {
  scaling.beta_fast = rope.number("beta_fast", smallest, scaling.beta_fast);
  scaling.beta_slow = rope.number("beta_slow", smallest, scaling.beta_slow);
  if (scaling.beta_fast < scaling.beta_slow) rope.refuse("beta_fast", "at least beta_slow");
  if (!rope.flag("truncate", true)) rope.refuse("truncate", "true");
  scaling.attention = rope.number("attention_factor", smallest, 0);
  const double part = rope.number("mscale", 0, 0), all = rope.number("mscale_all_dim", 0, 0);
  if (scaling.attention == 0 && part > 0 && all > 0) {
    scaling.attention = yarn_scale(scaling.factor, part) / yarn_scale(scaling.factor, all);
  }
}

// `rope`: the object rope_scaling or rope_parameters.
void read_scaling(const JsonFields& rope, ModelConfig& model) {
  const std::string kind = rope.text("rope_type", rope.text("type", "default"));
  if (rope.number("partial_rotary_factor", 0, 1) != 1) rope.refuse("partial_rotary_factor", "1");
  model.rope_theta = rope.number("rope_theta", 1, model.rope_theta);
  if (kind == "default") return;
  const char* named = rope.has("rope_type") ? "rope_type" : "type";
  if (kind == "dynamic" || kind == "longrope") {
    rope.refuse(named, "default, linear, llama3 or yarn: angles that depend on the length of the text are not built");
  }
  if (kind != "linear" && kind != "llama3" && kind != "yarn") rope.refuse(named, "default, linear, llama3 or yarn");
  if (!rope.has("factor")) rope.refuse("factor", "a number from 1");
  if (kind == "yarn" && model.rope_theta == 1) rope.refuse("rope_theta", "a number above 1");
  model.rope.kind = kind;
  model.rope.factor = rope.number("factor", 1, 1);
  if (kind == "linear") return;
  model.rope.original_context = rope.whole("original_max_position_embeddings", 1, most_tokens, model.context);
  kind == "llama3" ? read_llama3(rope, model.rope) : read_yarn(rope, model.rope);
}

void read_rotary(const JsonFields& fields, ModelConfig& model) {
  model.rope_theta = fields.number("rope_theta", 1, 10000);
  if (fields.number("partial_rotary_factor", 0, 1) != 1) fields.refuse("partial_rotary_factor", "1");
  for (const char* name : {"rope_scaling", "rope_parameters"}) {  // both: the first, as in transformers
    if (fields.has(name)) return read_scaling(fields.object(name), model);
  }
}

void read_heads(const JsonFields& fields, ModelConfig& model) {
  model.heads = fields.whole("num_attention_heads", 1, 1 << 16);
  model.kv_heads = fields.whole("num_key_value_heads", 1, 1 << 16, model.heads);
  if (model.heads % model.kv_heads != 0) {
    fields.refuse("num_key_value_heads", str("a divisor of num_attention_heads, ", model.heads));
  }
  if (!fields.has("head_dim") && model.width % model.heads != 0) {
    fields.refuse("num_attention_heads", str("a divisor of hidden_size, ", model.width));
  }
  const int64_t width = fields.whole("head_dim", 1, 1 << 16, model.width / model.heads);
  if (width % 2 != 0 || width == 0) fields.refuse("head_dim", "an even width of a head");
  model.own_head_width = width * model.heads == model.width ? 0 : width;
}

ModelConfig read_model(const json& object, const JsonFields& fields) {
  require_known_kind(object, fields);
  ModelConfig model;
  model.dialect = "llama";
  model.layers = fields.whole("num_hidden_layers", 1, 100000);
  model.width = fields.whole("hidden_size", 1, 1 << 20);
  model.mlp_width = fields.whole("intermediate_size", 1, 1 << 22);
  model.vocabulary = fields.whole("vocab_size", 2, most_tokens);
  model.context = fields.whole("max_position_embeddings", 1, most_tokens, 2048);
  read_heads(fields, model);
  model.norm_epsilon = fields.number("rms_norm_eps", 0, 1e-6);
  if (model.norm_epsilon > 1) fields.refuse("rms_norm_eps", "a number from 0 to 1");
  model.tie_embeddings = fields.flag("tie_word_embeddings", false);
  read_rotary(fields, model);
  read_quantisation(object, fields, model);
  return model;
}

// What transformers' generate takes: the generation file where there is one, else config.json, whose default is 2.
std::vector<int64_t> read_stop_ids(const json& object, const JsonFields& fields, const std::string& generation_text,
                                   const std::string& where) {
  const std::vector<int64_t> own =
      object.contains("eos_token_id") ? fields.ids("eos_token_id") : std::vector<int64_t>{2};
  if (generation_text.empty()) return own;
  const json generation = parse_json_object(generation_text, where);
  return JsonFields(generation, where).ids("eos_token_id");
}

}  // namespace

HfConfig parse_hf_config(const std::string& text, const std::string& generation_text, const std::string& folder) {
  const std::string where = folder + "/config.json";
  const json object = parse_json_object(text, where);
  const JsonFields fields(object, where);
  HfConfig config{read_model(object, fields), {}, text, generation_text};
  config.stop_ids = read_stop_ids(object, fields, generation_text, folder + "/generation_config.json");
  return config;
}

HfConfig read_hf_config(const std::string& folder) {
  std::error_code problem;
  if (!std::filesystem::is_directory(folder, problem)) throw UsageError(str(folder, ": no such model folder"));
  const std::string generation = folder + "/generation_config.json";
  const bool has_generation = std::filesystem::exists(generation, problem);
  return parse_hf_config(read_text_file(folder + "/config.json"), has_generation ? read_text_file(generation) : "",
                         folder);
}

}  // namespace braid
