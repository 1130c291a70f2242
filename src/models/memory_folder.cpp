// SPDX-License-Identifier: Apache-2.0
#include "models/memory_folder.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "models/announced_tensor.h"
#include "models/json_fields.h"
#include "models/parameter_file.h"
#include "nn/precompiled.h"
#include "store/posix_file.h"

namespace braid {

namespace {

constexpr const char *weights_name = "/memory.safetensors", *config_name = "/memory_config.json";
constexpr const char *canonical_name = "canonical_ids", *multipliers_name = "multipliers", *moduli_name = "moduli";

struct Named {
  std::string name;
  std::vector<int64_t> shape;
};

std::vector<Named> tensors_of(const ModelConfig& model, const HashMemoryConfig& config) {
  std::vector<Named> all = {{"memory.table", {hash_memory_rows(config), config.row_width()}}};
  for (const int64_t layer : config.layers) {
    const std::vector<std::string> streams = memory_stream_names(model, layer);
    const std::vector<int64_t> projection = {model.width, config.input_width()};
    for (const std::string& name : streams) all.push_back({name + ".key.weight", projection});
    all.push_back({memory_layer_name(layer) + ".value.weight", projection});
    for (const std::string& name : streams) {
      for (const char* part : {".query_norm.weight", ".key_norm.weight", ".value_norm.weight"})
        all.push_back({name + part, {model.width}});
      all.push_back({name + ".conv.weight", {model.width, config.kernel}});
    }
  }
  return all;
}

std::string config_text(const ModelConfig& model, const HashMemoryConfig& config, int64_t pad) {
  nlohmann::ordered_json text;
  text["format"] = "braid-hash-memory";
  text["format_version"] = 1;
  text["model_width"] = model.width;
  if (model.has_streams()) text["streams"] = model.streams;
  text["layers"] = config.layers;
  text["table_size"] = config.table_size;
  text["width"] = config.width;
  text["heads"] = config.heads;
  text["max_order"] = config.max_order;
  text["kernel"] = config.kernel;
  text["gate"] = config.gate;
  text["pad"] = pad;
  return text.dump(2) + "\n";
}

HashMemoryConfig read_config(const JsonFields& fields, const ModelConfig& model, const std::string& path) {
  constexpr int64_t most = int64_t{1} << 40;
  HashMemoryConfig config;
  if (fields.text("format", "") != "braid-hash-memory") fields.refuse("format", "\"braid-hash-memory\"");
  fields.whole("format_version", 1, 1);
  if (fields.whole("model_width", 1, most) != model.width)
    fields.refuse("model_width", str("the model's ", model.width));
  const int64_t streams = model.has_streams() ? model.streams : 0;
  if (fields.whole("streams", 1, 8, 0) != streams)
    fields.refuse("streams", streams > 0 ? str("the model's ", streams) : "none, since the model keeps one stream");
  config.layers = fields.ids("layers");
  if (config.layers.empty()) fields.refuse("layers", "at least one layer");
  config.table_size = fields.whole("table_size", 2, most);
  config.width = fields.whole("width", 1, 1 << 20);
  config.heads = fields.whole("heads", 1, 1024);
  config.max_order = fields.whole("max_order", 2, 16);
  config.kernel = fields.whole("kernel", 1, 64);
  config.gate = fields.text("gate", "root");
  if (config.gate != "root" && config.gate != "plain") fields.refuse("gate", "\"root\" or \"plain\"");
  try {
    config.check(model);
  } catch (const UsageError& problem) {
    throw UsageError(str(path, ": ", problem.what()));
  }
  return config;
}

at::Tensor read_numbers(const SafetensorsFile& file, const char* name, const std::vector<int64_t>& shape) {
  const std::string where = str(file.path(), ": ", name, ": ");
  const SafeTensor* tensor = file.find(name);
  if (!tensor) throw UsageError(where + "expected by memory_config.json, and not there");
  if (tensor->element != h5::Element::int64) throw UsageError(where + "expected elements I64");
  const bool fits = tensor->shape.size() == shape.size() &&
                    std::equal(shape.begin(), shape.end(), tensor->shape.begin(),
                               [](int64_t expected, auto found) { return expected < 0 || expected == int64_t(found); });
  if (!fits)
    throw UsageError(
        str(where, "found shape [", extent_text(tensor->shape), "], which does not fit memory_config.json"));
  at::Tensor numbers = at::empty(tensor->shape, at::kLong);
  std::memcpy(numbers.mutable_data_ptr(), file.data(*tensor), tensor->bytes());
  return numbers;
}

CanonicalTokens read_tokens(const SafetensorsFile& file, int64_t pad, int64_t vocabulary) {
  const at::Tensor ids = read_numbers(file, canonical_name, {-1});
  if (ids.numel() < vocabulary) {
    throw UsageError(
        str(file.path(), ": ", canonical_name, ": knows ", ids.numel(), " tokens, the model has ", vocabulary));
  }
  if (ids.min().item<int64_t>() < 0)
    throw UsageError(str(file.path(), ": ", canonical_name, ": expected numbers from 0"));
  const int64_t count = std::max(ids.max().item<int64_t>() + 1, pad);
  return {std::vector<int64_t>(ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + ids.numel()), count, pad};
}

NgramHash read_hash(const SafetensorsFile& file, int64_t pad, const HashMemoryConfig& config, Transformer& model) {
  const auto layers = static_cast<int64_t>(config.layers.size());
  const int64_t vocabulary = model.embedding().tokens->shape[0];  // of the whole, where this is a rank's part of it
  const CanonicalTokens tokens = read_tokens(file, pad, vocabulary);
  const at::Tensor multipliers = read_numbers(file, multipliers_name, {layers, config.max_order});
  const at::Tensor moduli = read_numbers(file, moduli_name, {layers, config.tables()});
  try {
    return NgramHash(tokens, multipliers.to(model.device()), moduli.to(model.device()));
  } catch (const UsageError& problem) {
    throw UsageError(str(file.path(), ": ", problem.what()));
  }
}

void refuse_more(const SafetensorsFile& file, HashMemory& memory) {
  std::set<std::string> known = {canonical_name, multipliers_name, moduli_name, memory.rows().name};
  for (const Parameter& p : memory.parameters().all()) known.insert(p.name);
  for (const SafeTensor& tensor : file.tensors()) {
    if (!known.count(tensor.name))
      throw UsageError(str(file.path(), ": ", tensor.name, ": has no place in this memory"));
  }
}

}  // namespace

void write_memory_folder(const std::string& folder, const ModelConfig& model, const HashMemoryConfig& config,
                         const NgramHash& hash, const ReadMemoryTensor& read) {
  std::error_code problem;
  std::filesystem::create_directories(folder, problem);
  if (problem) throw Error(str(folder, ": cannot be made: ", problem.message()));
  const std::vector<std::pair<const char*, at::Tensor>> numbers = {
      {canonical_name, hash.canonical_ids()}, {multipliers_name, hash.multipliers()}, {moduli_name, hash.moduli()}};
  std::vector<SafeTensor> described;
  for (const auto& [name, values] : numbers)
    described.push_back({name, h5::Element::int64, Extent(values.sizes().begin(), values.sizes().end()), 0});
  const std::vector<Named> tensors = tensors_of(model, config);
  for (const Named& tensor : tensors) {
    described.push_back({tensor.name, h5::Element::float32, Extent(tensor.shape.begin(), tensor.shape.end()), 0});
  }
  SafetensorsWriter writer(folder + weights_name, described, {{"format", "pt"}});
  for (const auto& [name, values] : numbers) {
    const at::Tensor host = values.cpu().contiguous();
    writer.write(static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes());
  }
  for (const Named& tensor : tensors) {
    std::vector<float> values(static_cast<size_t>(elements_of(Extent(tensor.shape.begin(), tensor.shape.end()))));
    read(tensor.name, tensor.shape, values);
    writer.write(reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float));
  }
  replace_text_file(folder + config_name, config_text(model, config, hash.pad()));
  writer.commit();
}

void write_memory_folder(const std::string& folder, const ModelConfig& model, HashMemory& memory) {
  write_memory_folder(folder, model, memory.config(), memory.hash(),
                      [&](const std::string& name, const std::vector<int64_t>&, std::span<float> out) {
                        Parameter& parameter =
                            name == memory.rows().name ? memory.rows() : memory.parameters().named(name);
                        const at::Tensor values = parameter.master.to(at::kCPU, at::kFloat).contiguous();
                        std::copy_n(values.const_data_ptr<float>(), out.size(), out.begin());
                      });
}

std::unique_ptr<HashMemory> load_memory_folder(const std::string& folder, Transformer& model) {
  const at::NoGradGuard no_gradient;
  const std::string path = folder + config_name;
  const nlohmann::json text = read_json_object(path);
  const JsonFields fields(text, path);
  const HashMemoryConfig config = read_config(fields, model.config(), path);
  const auto opened = open_announced(folder + weights_name);
  const SafetensorsFile& file = *opened;
  const NgramHash hash = read_hash(file, fields.whole("pad", 0, int64_t{1} << 40), config, model);
  auto memory = std::make_unique<HashMemory>(model, config, hash, 0);
  refuse_more(file, *memory);
  for (ParameterSet* set : {&memory->parameters(), &memory->table()}) {
    for (Parameter& parameter : set->all()) {
      const Extent shape(parameter.shape.begin(), parameter.shape.end());
      fill_parameter(parameter, file, announced_tensor(file, parameter.name, shape, "memory_config.json"));
    }
  }
  memory->parameters().refresh_compute();
  return memory;
}

}  // namespace braid
