// SPDX-License-Identifier: Apache-2.0
#include "store/checkpoint_convert.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "store/element_convert.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

constexpr int64_t piece_elements = 1 << 20;

struct Exported {
  TensorSlice stored;
  SafeTensor out;
};

// Wider elements first, so that all are aligned.
std::vector<Exported> tensors_to_export(const Manifest& manifest, const ExportOptions& options) {
  std::vector<Exported> chosen;
  for (const auto& [name, tensor] : manifest.tensors()) {
    if (!options.all && !name.starts_with(options.prefix)) continue;
    const h5::Element element = is_float(tensor.element) ? options.element.value_or(tensor.element) : tensor.element;
    chosen.push_back({tensor, {options.all ? name : name.substr(options.prefix.size()), element, tensor.shape, 0}});
  }
  std::stable_sort(chosen.begin(), chosen.end(), [](const Exported& a, const Exported& b) {
    return h5::element_bytes(a.out.element) > h5::element_bytes(b.out.element);
  });
  return chosen;
}

SafetensorsMetadata metadata_of(const Manifest& manifest) {
  SafetensorsMetadata metadata = {{"format", "braid"}, {"step", std::to_string(manifest.step)}};
  for (const char* name : {"run_id", "config"}) {
    if (!manifest.text(name).empty()) metadata[name] = manifest.text(name);
  }
  return metadata;
}

}  // namespace

void copy_elements(const CheckpointReader& reader, const TensorSlice& slice, h5::Element element,
                   SafetensorsWriter& writer) {
  std::vector<std::byte> stored, converted;
  for (int64_t done = 0; done < slice.count; done += piece_elements) {
    TensorSlice piece = slice;
    piece.first += done;
    piece.count = std::min(piece_elements, slice.count - done);
    stored.resize(piece.bytes());
    reader.read(piece, stored.data());
    const auto count = static_cast<size_t>(piece.count);
    converted.resize(count * h5::element_bytes(element));
    convert_elements(piece.element, stored.data(), element, converted.data(), count);
    writer.write(converted.data(), converted.size());
  }
}

Converted export_safetensors(const std::string& folder, const std::string& path, const ExportOptions& options) {
  const CheckpointReader reader(folder, verify_checkpoint(folder));
  const std::vector<Exported> chosen = tensors_to_export(reader.manifest(), options);
  if (chosen.empty()) throw UsageError(str(folder, ": has no tensor whose name begins with '", options.prefix, "'"));
  Converted done;
  std::vector<SafeTensor> out;
  for (const Exported& tensor : chosen) {
    out.push_back(tensor.out);
    done.bytes += static_cast<int64_t>(tensor.out.bytes());
  }
  done.tensors = static_cast<int64_t>(out.size());
  SafetensorsWriter writer(path, out, metadata_of(reader.manifest()));
  for (const Exported& tensor : chosen) copy_elements(reader, tensor.stored, tensor.out.element, writer);
  writer.commit();
  return done;
}

namespace {

// In HDF5 a tensor's name is a path: its parts are groups, which cannot be tensors themselves.
void require_storable(const std::vector<SliceData>& slices, const std::string& path) {
  std::set<std::string> names;
  for (const SliceData& slice : slices) names.insert(slice.slice.name);
  for (const std::string& name : names) {
    const std::string parts = "/" + name + "/";
    const bool no_path = parts.find("//") != std::string::npos || parts.find("/./") != std::string::npos;
    if (no_path) throw UsageError(str(path, ": tensor '", name, "': a checkpoint cannot hold this name"));
    for (size_t at = name.find('/'); at != std::string::npos; at = name.find('/', at + 1)) {
      if (!names.count(name.substr(0, at))) continue;
      throw UsageError(str(path, ": tensors ", name.substr(0, at), " and ", name,
                           ": a checkpoint cannot hold both names"));
    }
  }
}

void require_free(const std::string& folder) {
  std::error_code problem;
  if (fs::is_directory(folder, problem) && fs::is_empty(folder, problem)) return;
  if (fs::exists(folder, problem)) throw UsageError(str(folder, ": is there already; choose another folder"));
}

// A folder that becomes `path` when it is complete, and is removed otherwise.
class NewFolder {
 public:
  explicit NewFolder(const std::string& path)
      : path_((fs::path(path) / "").parent_path().string()), temporary_(path_ + ".tmp") {
    std::error_code problem;
    fs::remove_all(temporary_, problem);
    fs::create_directories(temporary_, problem);
    if (problem) throw Error(str(temporary_, ": cannot be created: ", problem.message()));
  }
  ~NewFolder() {
    std::error_code ignored;
    fs::remove_all(temporary_, ignored);
  }
  const std::string& path() const { return temporary_; }
  void commit() {
    sync_folder(temporary_);
    rename_file(temporary_, path_);
  }

 private:
  std::string path_, temporary_;
};

}  // namespace

Converted import_slices(const std::vector<std::vector<SliceData>>& shards, const std::string& source,
                        const std::string& folder, const ImportOptions& options) {
  require_free(folder);
  NewFolder made(folder);
  Converted done;
  Manifest manifest{0, "", options.attributes, options.state, {}};
  manifest.attributes.emplace_back("imported", source);
  for (const std::vector<SliceData>& slices : shards) {
    require_storable(slices, source);
    const ShardName name{static_cast<int64_t>(manifest.shards.size()), static_cast<int64_t>(shards.size())};
    manifest.shards.push_back(write_shard(made.path(), name, {{"step", int64_t{0}}}, slices));
    for (const SliceData& slice : slices) done.bytes += static_cast<int64_t>(slice.slice.bytes());
  }
  write_manifest(made.path(), manifest);
  made.commit();
  done.tensors = static_cast<int64_t>(manifest.tensors().size());
  return done;
}

Converted import_safetensors(const std::string& path, const std::string& folder, const ImportOptions& options) {
  const SafetensorsFile file(path);
  std::vector<SliceData> slices;
  for (const SafeTensor& tensor : file.tensors()) {
    slices.push_back({tensor.whole(), file.data(tensor)});
    slices.back().slice.name = options.prefix + tensor.name;
  }
  if (slices.empty()) throw UsageError(str(path, ": holds no tensors"));
  return import_slices({slices}, path, folder, options);
}

}  // namespace braid
