// SPDX-License-Identifier: Apache-2.0
#include "models/hf_export.h"

#include <array>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/hf_layout.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

constexpr const char* stored_prefix = "model/";
constexpr size_t most_attribute_bytes = 48 << 10;  // HDF5's attributes end at 64 KiB
constexpr std::array tokenizer_files = {
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json",     "merges.txt",      "chat_template.jinja"};

struct Exported {
  TensorSlice rows;  // of a parameter
  SafeTensor out;
};

std::vector<Exported> tensors_to_export(const HfExportSource& source, const ModelConfig& model,
                                        const HfExportOptions& options) {
  std::vector<Exported> all;
  for (const HfTensor& tensor : hf_layout(model)) {
    const h5::Element element = source.element(tensor.parameter);
    TensorSlice rows = whole_tensor(tensor.parameter, element, tensor.parameter_shape);
    rows.count = elements_of(tensor.shape);
    rows.first = tensor.first_row * (rows.count / tensor.shape[0]);
    all.push_back({rows, {tensor.name, options.element.value_or(element), tensor.shape, 0}});
  }
  return all;
}

// Runs of tensors that make one file each.
std::vector<std::vector<Exported>> in_files(const std::vector<Exported>& all, int64_t most_bytes) {
  std::vector<std::vector<Exported>> files(1);
  int64_t bytes = 0;
  for (const Exported& tensor : all) {
    const auto more = static_cast<int64_t>(tensor.out.bytes());
    if (!files.back().empty() && bytes + more > most_bytes) {
      files.emplace_back();
      bytes = 0;
    }
    files.back().push_back(tensor);
    bytes += more;
  }
  return files;
}

std::string file_name(size_t index, size_t count) {
  if (count == 1) return single_weights_name;
  char text[64];
  std::snprintf(text, sizeof text, "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return text;
}

int64_t write_file(const HfExportSource& source, const std::string& path, const std::vector<Exported>& tensors) {
  std::vector<SafeTensor> header;
  int64_t bytes = 0;
  for (const Exported& tensor : tensors) {
    header.push_back(tensor.out);
    bytes += static_cast<int64_t>(tensor.out.bytes());
  }
  SafetensorsWriter writer(path, header, {{"format", "pt"}});
  for (const Exported& tensor : tensors) source.copy(tensor.rows, tensor.out.element, writer);
  writer.commit();
  return bytes;
}

void write_text(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".new";
  {
    PosixFile file = PosixFile::create(temporary);
    file.write(text.data(), text.size(), 0);
    file.sync();
  }
  rename_file(temporary, path);
}

std::string index_text(const std::vector<std::vector<Exported>>& files, int64_t bytes) {
  nlohmann::ordered_json map;
  for (size_t i = 0; i < files.size(); ++i) {
    for (const Exported& tensor : files[i]) map[tensor.out.name] = file_name(i, files.size());
  }
  return nlohmann::ordered_json{{"metadata", {{"total_size", bytes}}}, {"weight_map", map}}.dump(2) + "\n";
}

void make_folder(const std::string& folder) {
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (!fs::is_directory(folder)) throw UsageError(str(folder, ": cannot be made: ", problem.message()));
  if (!fs::is_empty(folder)) throw UsageError(str(folder, ": expected a new or empty folder, found files in it"));
}

}  // namespace

std::vector<std::string> copy_tokenizer(const std::string& from, const std::string& to) {
  std::vector<std::string> copied;
  for (const char* name : tokenizer_files) {
    const fs::path source = fs::path(from) / name;
    if (from.empty() || !fs::is_regular_file(source)) continue;
    std::error_code problem;
    fs::create_directories(to, problem);
    fs::copy_file(source, fs::path(to) / name, fs::copy_options::overwrite_existing, problem);
    if (problem) throw Error(str(to, "/", name, ": cannot be written: ", problem.message()));
    copied.push_back(name);
  }
  return copied;
}

RunAttributes hf_attributes(const std::string& folder, const HfConfig& config, uint32_t digest) {
  if (config.text.size() + config.generation_text.size() > most_attribute_bytes) {
    throw UsageError(str(folder, "/config.json: expected at most ", most_attribute_bytes,
                         " bytes with generation_config.json, so that checkpoints can hold them"));
  }
  char text[24];
  std::snprintf(text, sizeof text, "crc32c:%08x", digest);
  return {{model_path_attribute, fs::weakly_canonical(folder).string()},
          {model_digest_attribute, std::string(text)},
          {hf_config_attribute, config.text},
          {hf_generation_attribute, config.generation_text}};
}

HfExported export_hf(const std::string& checkpoint, const ModelConfig& model, const std::string& folder,
                     const HfExportOptions& options) {
  const CheckpointReader reader(checkpoint, verify_checkpoint(checkpoint));
  HfExportSource source;
  source.element = [&](const std::string& parameter) { return reader.element(stored_prefix + parameter); };
  source.copy = [&](TensorSlice rows, h5::Element element, SafetensorsWriter& writer) {
    rows.name = stored_prefix + rows.name;
    copy_elements(reader, rows, element, writer);
  };
  source.config = reader.manifest().text(hf_config_attribute);
  source.generation = reader.manifest().text(hf_generation_attribute);
  return export_hf(source, model, folder, options);
}

HfExported export_hf(const HfExportSource& source, const ModelConfig& model, const std::string& folder,
                     const HfExportOptions& options) {
  const h5::Element element = options.element.value_or(source.element("embedding.weight"));
  const std::string config = hf_config_text(model, element, source.config);
  const std::vector<Exported> all = tensors_to_export(source, model, options);
  const auto files = in_files(all, options.shard_bytes);
  make_folder(folder);
  HfExported done;
  done.files = static_cast<int64_t>(files.size());
  done.weights.tensors = static_cast<int64_t>(all.size());
  for (size_t i = 0; i < files.size(); ++i) {
    done.weights.bytes += write_file(source, folder + "/" + file_name(i, files.size()), files[i]);
  }
  if (files.size() > 1) write_text(folder + "/" + weights_index_name, index_text(files, done.weights.bytes));
  const bool began_here = source.config.empty();
  if (began_here || !source.generation.empty()) {
    write_text(folder + "/generation_config.json", began_here ? plain_generation_text() : source.generation);
  }
  done.copied = copy_tokenizer(options.tokenizer_folder, folder);
  write_text(folder + "/config.json", config);  // last: without it the folder is no model
  return done;
}

namespace {

// What one parameter is made of, in the order of its rows. A shard holds one slice of a tensor, so the second of them
// goes to the second shard.
std::vector<std::vector<SliceData>> shards_of(const HfFiles& files, const ModelConfig& model,
                                              const std::string& prefix) {
  std::vector<std::vector<SliceData>> shards;
  std::map<std::string, size_t> pieces;
  std::map<std::string, h5::Element> elements;
  for (const HfTensor& tensor : hf_layout(model)) {
    const HfFiles::Found& found = files.at(tensor.name);
    const h5::Element element = found.tensor->element;
    if (elements.try_emplace(tensor.parameter, element).first->second != element) {
      throw UsageError(str(found.file->path(), ": tensor ", tensor.name,
                           ": expected the element type of the layer's other ",
                           "projections, which are kept as one tensor, found ", h5::element_name(element)));
    }
    TensorSlice rows = whole_tensor(prefix + tensor.parameter, element, tensor.parameter_shape);
    rows.count = elements_of(tensor.shape);
    rows.first = tensor.first_row * (rows.count / tensor.shape[0]);
    const size_t shard = pieces[tensor.parameter]++;
    if (shard == shards.size()) shards.emplace_back();
    shards[shard].push_back({rows, found.data()});
  }
  return shards;
}

void require_finite(const HfFiles& files, const ModelConfig& model) {
  for (const HfTensor& tensor : hf_layout(model)) {
    const HfFiles::Found& found = files.at(tensor.name);
    const int64_t bad = first_not_finite(found.tensor->element, found.data(), elements_of(tensor.shape));
    if (bad < 0) continue;
    throw UsageError(str(found.file->path(), ": tensor ", tensor.name,
                         ": expected finite weights, found NaN or infinity as element ", bad));
  }
}

}  // namespace

Converted import_hf(const std::string& folder, const std::string& checkpoint, ImportOptions options) {
  const HfConfig config = read_hf_config(folder);
  const HfFiles files(folder);
  check_hf_tensors(files, config.model);
  require_finite(files, config.model);
  const RunAttributes origin = hf_attributes(folder, config, files.digest());
  options.attributes.insert(options.attributes.end(), origin.begin(), origin.end());
  return import_slices(shards_of(files, config.model, options.prefix), folder, checkpoint, options);
}

}  // namespace braid
