// SPDX-License-Identifier: Apache-2.0
#include "store/checkpoint_manifest.h"

#include <unistd.h>

#include <algorithm>
#include <limits>

#include "base/clock.h"
#include "base/error.h"
#include "store/checkpoint_view.h"
#include "store/h5_table.h"
#include "store/sealed_file.h"

namespace braid {

const std::string& Manifest::text(const std::string& attribute) const {
  static const std::string none;
  for (const auto& [name, value] : attributes) {
    if (name == attribute && std::holds_alternative<std::string>(value)) return std::get<std::string>(value);
  }
  return none;
}

std::map<std::string, TensorSlice> Manifest::tensors() const {
  std::map<std::string, TensorSlice> all;
  for (const ShardRecord& shard : shards) {
    for (const StoredSlice& stored : shard.slices) {
      const TensorSlice& slice = stored.slice;
      const auto [known, fresh] = all.try_emplace(slice.name, whole_tensor(slice.name, slice.element, slice.shape));
      if (!fresh && (known->second.shape != slice.shape || known->second.element != slice.element)) {
        throw Error(str("tensor ", slice.name, ": its slices disagree on shape or type"));
      }
    }
  }
  return all;
}

int64_t Manifest::bytes() const {
  int64_t total = 0;
  for (const ShardRecord& shard : shards) total += shard.bytes;
  return total;
}

namespace {

// Slices of a tensor never overlap, so that counting elements is enough.
void require_complete(const Manifest& manifest, const std::string& where) {
  std::map<std::string, int64_t> counts;
  for (const ShardRecord& shard : manifest.shards) {
    for (const StoredSlice& stored : shard.slices) counts[stored.slice.name] += stored.slice.count;
  }
  for (const auto& [name, tensor] : manifest.tensors()) {
    if (counts[name] == tensor.count) continue;
    throw Error(str(where, ": tensor ", name, ": ", counts[name], " elements are stored, it has ", tensor.count));
  }
}

int widest(const std::vector<Row>& rows, const std::string& column) {
  size_t width = 1;
  for (const Row& row : rows) {
    for (const auto& [name, cell] : row) {
      if (name == column) width = std::max(width, std::get<std::string>(cell).size());
    }
  }
  return static_cast<int>(width);
}

std::vector<Row> slice_rows(const Manifest& manifest) {
  std::vector<Row> rows;
  for (const ShardRecord& shard : manifest.shards) {
    for (const StoredSlice& s : shard.slices) {
      rows.push_back({{"tensor", s.slice.name},
                      {"element", std::string(h5::element_name(s.slice.element))},
                      {"shape", extent_text(s.slice.shape)},
                      {"box_origin", extent_text(s.slice.box.origin)},
                      {"box_extent", extent_text(s.slice.box.extent)},
                      {"first", s.slice.first},
                      {"count", s.slice.count},
                      {"shard", s.shard},
                      {"offset", s.offset},
                      {"crc32c", int64_t{s.crc}}});
    }
  }
  return rows;
}

TableSpec slice_table(const std::vector<Row>& rows) {
  const auto text = [&](const char* name, const char* meaning) {
    return Column{name, ColumnType::text, "", meaning, widest(rows, name)};
  };
  return {"slices",
          {text("tensor", "name of the tensor"),
           text("element", "type of its elements"),
           text("shape", "of the whole tensor"),
           text("box_origin", "first index of the box of it that the slice is cut from"),
           text("box_extent", "lengths of that box"),
           {"first", ColumnType::int64, "elements", "where the slice begins in the box, row-major"},
           {"count", ColumnType::int64, "elements", "elements of the slice"},
           {"shard", ColumnType::int64, "1", "row of /shards"},
           {"offset", ColumnType::int64, "bytes", "position of its first element in that file"},
           {"crc32c", ColumnType::int64, "1", "CRC-32C of its bytes"}}};
}

void write_shard_table(h5::File& file, const Manifest& manifest) {
  std::vector<Row> rows;
  for (const ShardRecord& shard : manifest.shards) {
    rows.push_back({{"file", shard.file}, {"bytes", shard.bytes}, {"crc32c", int64_t{shard.crc}}});
  }
  write_table(file,
              {"shards",
               {{"file", ColumnType::text, "", "name beside this file", widest(rows, "file")},
                {"bytes", ColumnType::int64, "bytes", "length of the file"},
                {"crc32c", ColumnType::int64, "1", "CRC-32C of everything after its first 512 bytes"}}},
              rows);
}

template <class Number>
void write_list(h5::File& file, const std::string& name, h5::Element element, hid_t memory, const std::vector<Number>& list) {
  h5::Dataset dataset = h5::create_contiguous(file, "state/" + name, element, static_cast<int64_t>(list.size()));
  if (!list.empty()) dataset.write(memory, list.data());
}

// Numbers and texts are attributes of the group /state, lists are datasets in it.
void write_state(h5::File& file, const CheckpointState& state) {
  const h5::H5Id group = h5::own(H5Gcreate2(file, "state", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose, file.path());
  for (const auto& [name, value] : state) {
    if (const auto* ints = std::get_if<std::vector<int64_t>>(&value)) {
      write_list(file, name, h5::Element::int64, H5T_NATIVE_INT64, *ints);
    } else if (const auto* doubles = std::get_if<std::vector<double>>(&value)) {
      write_list(file, name, h5::Element::float64, H5T_NATIVE_DOUBLE, *doubles);
    } else if (const auto* text = std::get_if<std::string>(&value)) {
      h5::set_attribute(group, name, *text);
    } else if (const auto* number = std::get_if<double>(&value)) {
      h5::set_attribute(group, name, *number);
    } else {
      h5::set_attribute(group, name, std::get<int64_t>(value));
    }
  }
}

void write_contents(h5::File& file, const Manifest& manifest) {
  h5::set_attribute(file, "format", std::string("braid-checkpoint"));
  h5::set_attribute(file, "format_version", checkpoint_format_version);
  h5::set_attribute(file, "created_utc", manifest.created_utc.empty() ? utc_now_iso8601() : manifest.created_utc);
  h5::set_attribute(file, "step", manifest.step);
  for (const auto& [name, value] : manifest.attributes) {
    std::visit([&, &key = name](const auto& content) { h5::set_attribute(file, key, content); }, value);
  }
  write_state(file, manifest.state);
  write_shard_table(file, manifest);
  const std::vector<Row> slices = slice_rows(manifest);
  write_table(file, slice_table(slices), slices);
  add_views(file, manifest.tensors(), manifest.shards);
}

}  // namespace

void write_manifest(const std::string& folder, const Manifest& manifest) {
  const std::string path = folder + "/" + manifest_name;
  require_complete(manifest, folder);
  try {
    {
      const auto alone = h5::library_lock();
      h5::File file = h5::File::create(path, h5::Exists::replace, h5::Layout::compatible, seal_bytes);
      try {
        write_contents(file, manifest);
        file.flush();
        file.close();
      } catch (const Error&) {
        file.abandon();
        throw;
      }
    }
    PosixFile file = PosixFile::open_to_change(path);
    const int64_t bytes = file.size();
    write_seal(file, {checkpoint_format_version, bytes, digest_of_range(file, seal_bytes, bytes)});
    file.sync();
  } catch (const Error&) {
    unlink(path.c_str());
    throw;
  }
}

namespace {

void read_shards(const h5::File& file, Manifest& manifest) {
  const Table shards = read_table(file, "shards");
  for (size_t row = 0; row < shards.rows.size(); ++row) {
    manifest.shards.push_back({text_cell(shards, row, "file"), int_cell(shards, row, "bytes"),
                               static_cast<uint32_t>(int_cell(shards, row, "crc32c")), {}});
  }
  const Table slices = read_table(file, "slices");
  for (size_t row = 0; row < slices.rows.size(); ++row) {
    const auto element = h5::element_named(text_cell(slices, row, "element"));
    const int64_t shard = int_cell(slices, row, "shard");
    if (!element || shard < 0 || shard >= static_cast<int64_t>(manifest.shards.size())) {
      throw Error(str(slices.label, ": row ", row, ": an element type or a shard that is not known"));
    }
    const TensorBox box{parse_extent(text_cell(slices, row, "box_origin")), parse_extent(text_cell(slices, row, "box_extent"))};
    const TensorSlice slice{text_cell(slices, row, "tensor"), *element, parse_extent(text_cell(slices, row, "shape")), box,
                            int_cell(slices, row, "first"), int_cell(slices, row, "count")};
    manifest.shards[static_cast<size_t>(shard)].slices.push_back(
        {slice, shard, int_cell(slices, row, "offset"), static_cast<uint32_t>(int_cell(slices, row, "crc32c"))});
  }
}

}  // namespace

Manifest read_manifest(const std::string& folder) {
  const std::string path = folder + "/" + manifest_name;
  verify_sealed_file(path);
  const auto alone = h5::library_lock();
  const h5::File file = h5::File::open(path);
  if (h5::text_attribute(file, "format") != "braid-checkpoint") throw Error(path + ": not a checkpoint's manifest");
  Manifest manifest;
  manifest.step = h5::int_attribute(file, "step");
  manifest.created_utc = h5::text_attribute(file, "created_utc");
  for (auto& [name, value] : h5::scalar_attributes(file)) {
    if (name == "format" || name == "format_version" || name == "step" || name == "created_utc") continue;
    if (auto* text = std::get_if<std::string>(&value)) manifest.attributes.emplace_back(name, std::move(*text));
    if (const auto* number = std::get_if<int64_t>(&value)) manifest.attributes.emplace_back(name, *number);
  }
  const h5::H5Id group = h5::own(H5Gopen2(file, "state", H5P_DEFAULT), H5Gclose, path + ": /state");
  for (auto& [name, value] : h5::scalar_attributes(group)) {
    std::visit([&, &key = name](auto&& content) { manifest.state[key] = std::move(content); }, value);
  }
  for (auto& [name, list] : h5::lists_in(file, "state")) {
    std::visit([&, &key = name](auto&& content) { manifest.state[key] = std::move(content); }, list);
  }
  read_shards(file, manifest);
  require_complete(manifest, path);
  return manifest;
}

namespace {

template <class T>
const T& state_value(const CheckpointState& state, const std::string& name) {
  const auto found = state.find(name);
  const T* value = found == state.end() ? nullptr : std::get_if<T>(&found->second);
  if (!value) throw Error(str("checkpoint: /state has no ", name, ", or it is of another type"));
  return *value;
}

}  // namespace

int64_t state_int(const CheckpointState& state, const std::string& name) { return state_value<int64_t>(state, name); }
double state_double(const CheckpointState& state, const std::string& name) { return state_value<double>(state, name); }
std::vector<int64_t> state_ints(const CheckpointState& state, const std::string& name) {
  return state_value<std::vector<int64_t>>(state, name);
}
std::vector<double> state_doubles(const CheckpointState& state, const std::string& name) {
  return state_value<std::vector<double>>(state, name);
}

}  // namespace braid
