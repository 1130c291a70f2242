// SPDX-License-Identifier: Apache-2.0
#include "experiments/pretrained.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "comm/agreement.h"
#include "models/hf_export.h"
#include "models/hf_model.h"
#include "models/peft_adapter.h"
#include "models/peft_config.h"

namespace braid {

namespace {

std::vector<ConfigKey> keys_of(auto fields) {
  return config_keys([&](ConfigSection& section) { fields.describe(section); });
}

// Keys of one table that the document gives must be as the file `from` has them.
void refuse_contradictions(const std::string& table, const std::vector<ConfigKey>& given, const std::vector<ConfigKey>& found,
                           const ConfigDocument& document, const std::string& from) {
  for (size_t i = 0; i < given.size(); ++i) {
    const std::string key = table + "." + given[i].name;
    if (!document.contains(key) || given[i].value == found[i].value) continue;
    throw UsageError(str(document.where(key), ": ", key, ": expected ", found[i].value, ", which ", from,
                         " has, found ", given[i].value));
  }
}

// The order of a list of modules says nothing.
LoraConfig sorted(LoraConfig lora) {
  for (auto* names : {&lora.targets, &lora.saved_modules}) std::sort(names->begin(), names->end());
  return lora;
}

}  // namespace

void take_shape(ModelConfig& model, const ConfigDocument& document) {
  ModelConfig shape = read_hf_config(model.path).model;
  shape.path = model.path;
  shape.attention = model.attention;
  shape.attention_start = model.attention_start;
  if (!shape.is_quantised()) {
    shape.quantise = model.quantise;
    shape.double_quantise = model.double_quantise;
    shape.dense_modules = model.dense_modules;
  }
  const std::string from = model.path + "/config.json";
  if (document.contains("model.context")) {
    if (model.context > shape.context) {
      throw UsageError(str(document.where("model.context"), ": model.context: expected at most ", shape.context,
                           ", which ", from, " has, found ", model.context));
    }
    shape.context = model.context;
  }
  refuse_contradictions("model", keys_of(model), keys_of(shape), document, from);
  model = shape;
}

void take_adapter(LoraConfig& lora, const ModelConfig& model, const ConfigDocument& document) {
  if (model.path.empty()) {
    throw UsageError(str(document.where("lora.path"), ": lora.path: needs model.path, the model it is for"));
  }
  LoraConfig found = read_peft_config(lora.path, model);
  found.path = lora.path;
  found.b_rate = lora.b_rate;
  found.rows = lora.rows;
  if (document.contains("lora.dropout")) found.dropout = lora.dropout;
  refuse_contradictions("lora", keys_of(sorted(lora)), keys_of(sorted(found)), document, lora.path + "/adapter_config.json");
  lora = found;
}

RunAttributes record_pretrained(const ModelConfig& model, const std::string& out, Communicator& host) {
  RunAttributes attributes;
  if (model.path.empty()) return attributes;
  agree_on_root(host, [&] {
    copy_tokenizer(model.path, out + "/tokenizer");
    attributes = hf_attributes(model.path, read_hf_config(model.path), HfFiles(model.path).digest());
  });
  return attributes;
}

void load_pretrained(Transformer& model, const ModelConfig& whole, Communicator& host, const HfElsewhere* elsewhere) {
  agree(host, [&] { load_hf_part(HfFiles(whole.path), whole, model, {}, elsewhere); });
}

void load_adapter(LoraModel& adapters, const ModelConfig& whole, Communicator& host) {
  const LoraConfig& lora = adapters.config();
  if (lora.path.empty()) return;
  agree(host, [&] { load_peft_weights(lora.path, adapters.parameters(), adapter_tensors(whole, lora)); });
}

}  // namespace braid
