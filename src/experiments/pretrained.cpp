// SPDX-License-Identifier: Apache-2.0
#include "experiments/pretrained.h"

#include <filesystem>

#include "base/error.h"
#include "comm/agreement.h"
#include "models/hf_export.h"
#include "models/hf_model.h"

namespace braid {

namespace {

std::vector<ConfigKey> keys_of(ModelConfig model) {
  return config_keys([&](ConfigSection& section) { model.describe(section); });
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
  const std::vector<ConfigKey> given = keys_of(model), found = keys_of(shape);
  for (size_t i = 0; i < given.size(); ++i) {
    const std::string key = "model." + given[i].name;
    if (!document.contains(key) || given[i].value == found[i].value) continue;
    throw UsageError(str(document.where(key), ": ", key, ": expected ", found[i].value, ", which ", from,
                         " has, found ", given[i].value));
  }
  model = shape;
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

void load_pretrained(Transformer& model, Communicator& host) {
  agree(host, [&] { load_hf_model(HfFiles(model.config().path), model); });
}

}  // namespace braid
