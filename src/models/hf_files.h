// SPDX-License-Identifier: Apache-2.0
// The weights of a Hugging Face model folder as one set of tensors: model.safetensors, or the shards that
// model.safetensors.index.json lists, mapped into memory.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "store/safetensors.h"

namespace braid {

class HfFiles {
 public:
  struct Found {
    const SafetensorsFile* file = nullptr;
    const SafeTensor* tensor = nullptr;
    const std::byte* data() const { return file->data(*tensor); }
  };

  // Checks headers and index; no element is read. UsageError names the file, the tensor and what was expected.
  explicit HfFiles(const std::string& folder);

  const std::string& folder() const { return folder_; }
  const std::map<std::string, Found>& tensors() const { return tensors_; }
  // UsageError: no such tensor.
  const Found& at(const std::string& name) const;
  std::vector<std::string> paths() const;  // of the safetensors files, and before them the index, if there is one
  // CRC-32C over all files of paths(), one after the other.
  uint32_t digest() const;

 private:
  const SafetensorsFile& open(const std::string& path);
  void add(const SafetensorsFile& file);
  void read_index(const std::string& path);

  std::string folder_, index_;
  std::deque<SafetensorsFile> files_;
  std::map<std::string, Found> tensors_;
};

inline constexpr const char* single_weights_name = "model.safetensors";
inline constexpr const char* weights_index_name = "model.safetensors.index.json";

}  // namespace braid
