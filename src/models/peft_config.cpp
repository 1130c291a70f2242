// SPDX-License-Identifier: Apache-2.0
#include "models/peft_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/json_fields.h"

namespace braid {

namespace {

const std::vector<std::string> all_linear = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};

// Of "model.layers.3.self_attn.q_proj" or "q_proj" the last part.
std::string last_part(const std::string& module) { return module.substr(module.rfind('.') + 1); }

std::vector<std::string> names_in(const nlohmann::json& list, const JsonFields& fields, const std::string& field) {
  std::vector<std::string> names;
  for (const auto& name : list) {
    if (!name.is_string()) fields.refuse(field, "a list of names");
    names.push_back(name.get<std::string>());
  }
  return names;
}

// Names only: a path would choose one module, for which there are the patterns.
std::vector<std::string> targets_of(const nlohmann::json& config, const JsonFields& fields) {
  const auto& given = config.value("target_modules", nlohmann::json());
  if (given == "all-linear") return all_linear;
  if (!given.is_array()) fields.refuse("target_modules", "a list of projections, or \"all-linear\"");
  std::vector<std::string> names = names_in(given, fields, "target_modules");
  for (const std::string& name : names) {
    if (name != last_part(name)) fields.refuse("target_modules", "names of projections such as q_proj, without a path");
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> pattern_of(const nlohmann::json& config, const JsonFields& fields, const std::string& field) {
  std::vector<std::string> patterns;
  const auto given = config.value(field, nlohmann::json::object());
  if (!given.is_object()) fields.refuse(field, "an object of modules and numbers");
  for (const auto& [module, value] : given.items()) {
    if (!value.is_number()) fields.refuse(field, "an object of modules and numbers");
    patterns.push_back(module + "=" + value.dump());
  }
  return patterns;
}

// Kinds of adapters, and ways to put them on, that would compute something else.
void refuse_others(const nlohmann::json& config, const JsonFields& fields) {
  if (fields.text("peft_type", "LORA") != "LORA") fields.refuse("peft_type", "\"LORA\"");
  if (fields.text("bias", "none") != "none") fields.refuse("bias", "\"none\"");
  for (const char* flag : {"fan_in_fan_out", "lora_bias", "use_qalora", "use_bdlora"}) {
    if (fields.has(flag) && fields.flag(flag, false)) fields.refuse(flag, "false");
  }
  for (const char* field : {"alora_invocation_tokens", "exclude_modules", "layer_replication", "layers_pattern",
                            "target_parameters", "trainable_token_indices"}) {
    if (fields.has(field) && !config.at(field).empty()) fields.refuse(field, "none");
  }
}

nlohmann::json pattern_object(const std::vector<std::string>& patterns) {
  nlohmann::json object = nlohmann::json::object();
  for (const std::string& pattern : patterns) {
    const size_t equals = pattern.rfind('=');
    object[pattern.substr(0, equals)] = nlohmann::json::parse(pattern.substr(equals + 1));
  }
  return object;
}

nlohmann::json whole_or_fraction(double value) {
  return value == std::floor(value) ? nlohmann::json(int64_t(value)) : nlohmann::json(value);
}

}  // namespace

LoraConfig read_peft_config(const std::string& folder, const ModelConfig& model) {
  const std::string path = folder + "/adapter_config.json";
  const nlohmann::json config = read_json_object(path);
  const JsonFields fields(config, path);
  refuse_others(config, fields);
  LoraConfig lora;
  lora.rank = fields.whole("r", 1, 65536);
  lora.alpha = fields.number("lora_alpha", 0, 8);  // 8: peft's default
  lora.dropout = fields.number("lora_dropout", 0, 0);
  lora.targets = targets_of(config, fields);
  lora.layers = fields.ids("layers_to_transform");
  lora.rank_pattern = pattern_of(config, fields, "rank_pattern");
  lora.alpha_pattern = pattern_of(config, fields, "alpha_pattern");
  lora.rank_stabilised = fields.flag("use_rslora", false);
  lora.dora = fields.flag("use_dora", false);
  if (fields.has("modules_to_save")) lora.saved_modules = names_in(config.at("modules_to_save"), fields, "modules_to_save");
  try {
    lora.check(model);
  } catch (const UsageError& problem) {
    throw UsageError(str(path, ": ", problem.what()));
  }
  return lora;
}

std::string peft_config_text(const LoraConfig& lora, const std::string& base) {
  nlohmann::ordered_json config;
  config["peft_type"] = "LORA";
  config["task_type"] = "CAUSAL_LM";
  config["base_model_name_or_path"] = base.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(base);
  config["inference_mode"] = true;
  config["r"] = lora.rank;
  config["lora_alpha"] = whole_or_fraction(lora.alpha);
  config["lora_dropout"] = lora.dropout;
  config["target_modules"] = lora.targets;
  config["rank_pattern"] = pattern_object(lora.rank_pattern);
  config["alpha_pattern"] = pattern_object(lora.alpha_pattern);
  config["layers_to_transform"] = lora.layers.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(lora.layers);
  config["modules_to_save"] = lora.saved_modules.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(lora.saved_modules);
  config["use_rslora"] = lora.rank_stabilised;
  config["use_dora"] = lora.dora;
  config["bias"] = "none";
  config["fan_in_fan_out"] = false;
  config["init_lora_weights"] = true;
  return config.dump(2) + "\n";
}

}  // namespace braid
