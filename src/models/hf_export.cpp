// SPDX-License-Identifier: Apache-2.0
#include "models/hf_export.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/hf_layout.h"
#include "models/nf4_export.h"
#include "store/crc32c.h"
#include "store/element_convert.h"
#include "store/posix_file.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

constexpr const char* stored_prefix = "model/";
constexpr int64_t piece_elements = int64_t{1} << 22;
constexpr size_t most_attribute_bytes = 48 << 10;  // HDF5's attributes end at 64 KiB
constexpr std::array tokenizer_files = {
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json",     "merges.txt",      "chat_template.jinja"};

struct Exported {
  TensorSlice rows;  // of a parameter
  HfTensor tensor;
  h5::Element element = h5::Element::float32;  // what they become, or are quantised from
  bool quantised = false;
  int64_t bytes = 0;  // in the file
};

std::vector<Exported> tensors_to_export(const HfExportSource& source, const ModelConfig& model,
                                        const HfExportOptions& options) {
  std::vector<Exported> all;
  const QuantisedProjections nf4(model);
  for (const HfTensor& tensor : hf_layout(model)) {
    const h5::Element element = source.element(tensor.parameter);
    TensorSlice rows = whole_tensor(tensor.parameter, element, tensor.parameter_shape);
    rows.count = elements_of(tensor.shape);
    rows.first = tensor.first_row * (rows.count / tensor.shape[0]);
    const bool quantised = !tensor.projection.empty() && nf4.has(tensor.projection);
    Exported out{rows, tensor, options.element.value_or(element), quantised, 0};
    out.bytes = out.quantised ? nf4_stored_bytes(rows.count, model.double_quantise)
                              : rows.count * int64_t(h5::element_bytes(out.element));
    all.push_back(std::move(out));
  }
  return all;
}

// Runs of tensors that make one file each.
std::vector<std::vector<Exported>> in_files(const std::vector<Exported>& all, int64_t most_bytes) {
  std::vector<std::vector<Exported>> files(1);
  int64_t bytes = 0;
  for (const Exported& tensor : all) {
    if (!files.back().empty() && bytes + tensor.bytes > most_bytes) {
      files.emplace_back();
      bytes = 0;
    }
    files.back().push_back(tensor);
    bytes += tensor.bytes;
  }
  return files;
}

std::string file_name(size_t index, size_t count) {
  if (count == 1) return single_weights_name;
  char text[64];
  std::snprintf(text, sizeof text, "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return text;
}

// One tensor of a file: read as it is written, or held.
struct Piece {
  SafeTensor out;
  TensorSlice rows;
  at::Tensor held;
};

std::vector<Piece> pieces_of(const HfExportSource& source, const std::vector<Exported>& tensors, bool nested) {
  std::vector<Piece> pieces;
  for (const Exported& tensor : tensors) {
    if (!tensor.quantised) {
      pieces.push_back({{tensor.tensor.name, tensor.element, tensor.tensor.shape, 0}, tensor.rows, {}});
      continue;
    }
    for (HeldTensor& held : quantise_to_bnb(source, tensor.rows, tensor.tensor, tensor.element, nested)) {
      pieces.push_back({held.out, {}, held.values});
    }
  }
  // Wide elements first, so that all are aligned.
  std::stable_sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
    return h5::element_bytes(a.out.element) > h5::element_bytes(b.out.element);
  });
  return pieces;
}

struct WrittenFile {
  std::string name;
  std::vector<std::string> tensors;
  int64_t bytes = 0;
};

// A few MiB at a time.
void copy_rows(const HfExportSource& source, const TensorSlice& rows, h5::Element element, SafetensorsWriter& writer) {
  std::vector<std::byte> converted;
  for (int64_t done = 0; done < rows.count; done += piece_elements) {
    TensorSlice run = rows;
    run.first += done;
    run.count = std::min(piece_elements, rows.count - done);
    converted.resize(static_cast<size_t>(run.count) * h5::element_bytes(element));
    source.read(run, element, converted.data());
    writer.write(converted.data(), converted.size());
  }
}

WrittenFile write_file(const HfExportSource& source, const std::string& folder, const std::string& name,
                       const std::vector<Piece>& pieces) {
  WrittenFile file{name, {}, 0};
  std::vector<SafeTensor> header;
  for (const Piece& piece : pieces) {
    header.push_back(piece.out);
    file.tensors.push_back(piece.out.name);
    file.bytes += static_cast<int64_t>(piece.out.bytes());
  }
  SafetensorsWriter writer(folder + "/" + name, header, {{"format", "pt"}});
  for (const Piece& piece : pieces) {
    if (piece.held.defined()) {
      writer.write(static_cast<const std::byte*>(piece.held.const_data_ptr()), piece.out.bytes());
    } else {
      copy_rows(source, piece.rows, piece.out.element, writer);
    }
  }
  writer.commit();
  return file;
}

std::string index_text(const std::vector<WrittenFile>& files, int64_t bytes) {
  nlohmann::ordered_json map;
  for (const WrittenFile& file : files) {
    for (const std::string& tensor : file.tensors) map[tensor] = file.name;
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
  return {{model_path_attribute, fs::weakly_canonical(folder).string()},
          {model_digest_attribute, digest_text(digest)},
          {hf_config_attribute, config.text},
          {hf_generation_attribute, config.generation_text}};
}

namespace {

ModelConfig as_exported(ModelConfig model, Nf4Form form) {
  model.quantise = form == Nf4Form::none ? "none" : "nf4";
  model.double_quantise = form == Nf4Form::double_quantised;
  return model;
}

}  // namespace

HfExported export_hf(const std::string& checkpoint, const ModelConfig& model, const std::string& folder,
                     const HfExportOptions& options) {
  const CheckpointReader reader(checkpoint, verify_checkpoint(checkpoint));
  HfExportSource source;
  source.element = [&](const std::string& parameter) { return reader.element(stored_prefix + parameter); };
  std::vector<std::byte> stored;
  source.read = [&](TensorSlice run, h5::Element element, std::byte* to) {
    run.name = stored_prefix + run.name;
    stored.resize(run.bytes());
    reader.read(run, stored.data());
    convert_elements(run.element, stored.data(), element, to, static_cast<size_t>(run.count));
  };
  source.config = reader.manifest().text(hf_config_attribute);
  source.generation = reader.manifest().text(hf_generation_attribute);
  return export_hf(source, model, folder, options);
}

HfExported export_hf(const HfExportSource& source, const ModelConfig& given, const std::string& folder,
                     const HfExportOptions& options) {
  const h5::Element element = options.element.value_or(source.element("embedding.weight"));
  const ModelConfig model = as_exported(given, options.nf4);
  const std::string config = hf_config_text(model, element, source.config);
  const auto files = in_files(tensors_to_export(source, model, options), options.shard_bytes);
  make_folder(folder);
  HfExported done;
  done.files = static_cast<int64_t>(files.size());
  std::vector<WrittenFile> written;
  for (size_t i = 0; i < files.size(); ++i) {
    const std::vector<Piece> pieces = pieces_of(source, files[i], model.double_quantise);
    written.push_back(write_file(source, folder, file_name(i, files.size()), pieces));
    done.weights.bytes += written.back().bytes;
    done.weights.tensors += static_cast<int64_t>(written.back().tensors.size());
  }
  if (files.size() > 1) replace_text_file(folder + "/" + weights_index_name, index_text(written, done.weights.bytes));
  const bool began_here = source.config.empty();
  if (began_here || !source.generation.empty()) {
    replace_text_file(folder + "/generation_config.json", began_here ? plain_generation_text() : source.generation);
  }
  done.copied = copy_tokenizer(options.tokenizer_folder, folder);
  replace_text_file(folder + "/config.json", config);  // last: without it the folder is no model
  return done;
}

namespace {

// What one parameter is made of, in the order of its rows; the second of them goes to the second shard.
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
  if (config.model.is_quantised()) {
    throw UsageError(str(folder, "/config.json: quantization_config: expected none, since checkpoints hold dense ",
                         "weights; a run trains adapters on the folder itself (model.path)"));
  }
  const HfFiles files(folder);
  check_hf_tensors(files, config.model);
  require_finite(files, config.model);
  const RunAttributes origin = hf_attributes(folder, config, files.digest());
  options.attributes.insert(options.attributes.end(), origin.begin(), origin.end());
  return import_slices(shards_of(files, config.model, options.prefix), folder, checkpoint, options);
}

}  // namespace braid
