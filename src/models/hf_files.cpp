// SPDX-License-Identifier: Apache-2.0
#include "models/hf_files.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "models/json_fields.h"
#include "store/crc32c.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

bool is_file(const std::string& path) {
  std::error_code problem;
  return fs::is_regular_file(path, problem);
}

// A file of the folder itself: an index may not lead elsewhere.
bool is_plain_name(const std::string& name) {
  return name.ends_with(".safetensors") && name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

// weight_map of an index: tensor to file.
std::map<std::string, std::string> read_weight_map(const std::string& path) {
  const nlohmann::json index = read_json_object(path);
  const JsonFields fields(index, path);
  if (!fields.has("weight_map") || !index["weight_map"].is_object()) fields.refuse("weight_map", "an object");
  std::map<std::string, std::string> map;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    if (!file.is_string() || !is_plain_name(file.get<std::string>())) {
      JsonFields(index["weight_map"], path, "weight_map.")
          .refuse(tensor, "the name of a safetensors file in the folder");
    }
    map[tensor] = file.get<std::string>();
  }
  return map;
}

uint32_t digest_of_file(const std::string& path, uint32_t crc) {
  const PosixFile file = PosixFile::open_to_read(path);
  std::vector<std::byte> piece(size_t{1} << 20);
  const int64_t end = file.size();
  for (int64_t at = 0; at < end; at += static_cast<int64_t>(piece.size())) {
    const auto bytes = static_cast<size_t>(std::min<int64_t>(end - at, static_cast<int64_t>(piece.size())));
    file.read(piece.data(), bytes, at);
    crc = crc32c(piece.data(), bytes, crc);
  }
  return crc;
}

}  // namespace

HfFiles::HfFiles(const std::string& folder) : folder_(folder) {
  const std::string single = folder + "/" + single_weights_name, index = folder + "/" + weights_index_name;
  if (is_file(single)) {
    add(open(single));
  } else if (is_file(index)) {
    read_index(index);
  } else {
    const bool pickled = is_file(folder + "/pytorch_model.bin") || is_file(folder + "/pytorch_model.bin.index.json");
    throw UsageError(str(folder, ": expected ", single_weights_name, " or ", weights_index_name,
                         pickled ? ", found pytorch_model.bin: save it with safe_serialization" : ", found neither"));
  }
}

const SafetensorsFile& HfFiles::open(const std::string& path) {
  if (!is_file(path)) throw UsageError(str(path, ": no such file"));
  try {
    return files_.emplace_back(path);
  } catch (const Error& problem) {
    throw UsageError(problem.what());
  }
}

void HfFiles::add(const SafetensorsFile& file) {
  for (const SafeTensor& tensor : file.tensors()) {
    const auto [known, fresh] = tensors_.try_emplace(tensor.name, Found{&file, &tensor});
    if (fresh) continue;
    throw UsageError(str(file.path(), ": tensor ", tensor.name, ": expected in one file, found also in ",
                         known->second.file->path()));
  }
}

void HfFiles::read_index(const std::string& path) {
  index_ = path;
  const std::map<std::string, std::string> map = read_weight_map(path);
  std::set<std::string> names;
  for (const auto& [tensor, file] : map) names.insert(file);
  for (const std::string& name : names) {
    if (!is_file(folder_ + "/" + name))
      throw UsageError(str(folder_, "/", name, ": no such file, but the index lists it"));
    add(open(folder_ + "/" + name));
  }
  for (const auto& [tensor, file] : map) {
    const auto found = tensors_.find(tensor);
    if (found != tensors_.end() && found->second.file->path() == folder_ + "/" + file) continue;
    throw UsageError(str(folder_, "/", file, ": tensor ", tensor, ": expected, as the index says, found none"));
  }
  for (const auto& [tensor, found] : tensors_) {
    if (!map.count(tensor)) throw UsageError(str(found.file->path(), ": tensor ", tensor, ": is not in the index"));
  }
}

const HfFiles::Found& HfFiles::at(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) return found->second;
  const std::string where = index_.empty() ? folder_ + "/" + single_weights_name : index_;
  throw UsageError(str(where, ": tensor ", name, ": expected, found none"));
}

std::vector<std::string> HfFiles::paths() const {
  std::vector<std::string> all;
  if (!index_.empty()) all.push_back(index_);
  for (const SafetensorsFile& file : files_) all.push_back(file.path());
  return all;
}

uint32_t HfFiles::digest() const {
  uint32_t crc = 0;
  for (const std::string& path : paths()) crc = digest_of_file(path, crc);
  return crc;
}

}  // namespace braid
