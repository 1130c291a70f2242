// SPDX-License-Identifier: Apache-2.0
#include "models/hf_quantisation.h"

#include <algorithm>

#include "base/error.h"
#include "nn/projection_shape.h"

namespace braid {

namespace {

constexpr const char* section = "quantization_config";
constexpr const char* skipped = "llm_int8_skip_modules";

// Left out, transformers takes out the head alone.
std::vector<std::string> dense_modules(const nlohmann::json& object, const JsonFields& fields) {
  if (!fields.has(skipped)) return {"lm_head"};
  const nlohmann::json& list = object[skipped];
  const bool names =
      list.is_array() && std::all_of(list.begin(), list.end(), [](const auto& e) { return e.is_string(); });
  if (!names) fields.refuse(skipped, "a list of names");
  return list.get<std::vector<std::string>>();
}

}  // namespace

void read_quantisation(const nlohmann::json& config, const JsonFields& fields, ModelConfig& model) {
  if (!fields.has(section)) return;
  const JsonFields inner = fields.object(section);
  if (inner.text("quant_method", "") != "bitsandbytes") {
    inner.refuse("quant_method", "\"bitsandbytes\", the one method that is read");
  }
  if (inner.flag("load_in_8bit", false)) inner.refuse("load_in_8bit", "false: of bitsandbytes' types NF4 is read");
  if (!inner.flag("load_in_4bit", false)) inner.refuse("load_in_4bit", "true: of bitsandbytes' types NF4 is read");
  if (inner.text("bnb_4bit_quant_type", "fp4") != "nf4") inner.refuse("bnb_4bit_quant_type", "\"nf4\"");
  model.quantise = "nf4";
  model.double_quantise = inner.flag("bnb_4bit_use_double_quant", false);
  model.dense_modules = dense_modules(config[section], inner);
  try {
    QuantisedProjections{model};
  } catch (const UsageError&) {
    inner.refuse(skipped, "names of modules, or short regular expressions for them");
  }
}

nlohmann::ordered_json quantisation_object(const ModelConfig& model, const std::string& dtype) {
  return {{"quant_method", "bitsandbytes"},
          {"load_in_4bit", true},
          {"load_in_8bit", false},
          {"bnb_4bit_quant_type", "nf4"},
          {"bnb_4bit_use_double_quant", model.double_quantise},
          {"bnb_4bit_compute_dtype", dtype},
          {"bnb_4bit_quant_storage", "uint8"},
          {skipped, model.dense_modules}};
}

}  // namespace braid
