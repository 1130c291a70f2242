// SPDX-License-Identifier: Apache-2.0
#include "store/checkpoint_shard.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "store/crc32c.h"
#include "store/sealed_file.h"
#include "store/slice_names.h"

namespace braid {

std::string ShardName::file() const {
  char text[64];
  std::snprintf(text, sizeof text, "shard-%03lld-of-%03lld.h5", static_cast<long long>(index),
                static_cast<long long>(count));
  return text;
}

namespace {

constexpr size_t piece_bytes = 1 << 20;  // still in the cache when it is written after it was digested
constexpr int64_t write_out_bytes = 8 << 20;

// Tells HDF5 to write `attributes` on the root, and what kind of file this is.
void describe_file(h5::File& file, const ShardName& name, const RunAttributes& attributes) {
  h5::set_attribute(file, "format", std::string("braid-checkpoint-shard"));
  h5::set_attribute(file, "format_version", checkpoint_format_version);
  h5::set_attribute(file, "created_utc", utc_now_iso8601());
  h5::set_attribute(file, "shard", name.index);
  h5::set_attribute(file, "shards", name.count);
  for (const auto& [key, value] : attributes) {
    std::visit([&, &key = key](const auto& content) { h5::set_attribute(file, key, content); }, value);
  }
}

h5::Dataset add_dataset(h5::File& file, const std::string& name, const TensorSlice& slice) {
  h5::Dataset dataset = h5::create_contiguous(file, name, slice.element, slice.count);
  h5::set_attribute(dataset, "global_shape", extent_text(slice.shape));
  h5::set_attribute(dataset, "box_origin", extent_text(slice.box.origin));
  h5::set_attribute(dataset, "box_extent", extent_text(slice.box.extent));
  h5::set_attribute(dataset, "first", slice.first);
  h5::set_attribute(dataset, "crc32c", int64_t{0});  // known once the elements are written
  return dataset;
}

// Writes elements, and has the disk begin before the file is complete: left to its fsync alone, the disk would be idle
// while elements are digested and copied.
class ElementWriter {
 public:
  ElementWriter(PosixFile file, int64_t end) : file_(std::move(file)) { file_.reserve(end); }

  // Returns the digest.
  uint32_t write(const SliceData& slice, int64_t offset) {
    uint32_t crc = 0;
    const size_t bytes = slice.slice.bytes();
    for (size_t done = 0; done < bytes; done += piece_bytes) {
      const size_t piece = std::min(piece_bytes, bytes - done);
      crc = crc32c(slice.data + done, piece, crc);
      put(slice.data + done, piece, offset + static_cast<int64_t>(done));
    }
    return crc;
  }

 private:
  void put(const std::byte* data, size_t bytes, int64_t position) {
    file_.write(data, bytes, position);
    const int64_t end = position + static_cast<int64_t>(bytes);
    if (end - begun_ < write_out_bytes) return;
    file_.start_writing_out(begun_, end - begun_);
    begun_ = end;
  }

  PosixFile file_;
  int64_t begun_ = 0;  // up to here the disk has been told
};

int64_t end_of(const StoredSlice& stored) { return stored.offset + static_cast<int64_t>(stored.slice.bytes()); }

// An HDF5 file under construction: datasets first, then the elements outside of HDF5, then the digests.
class ShardFile {
 public:
  explicit ShardFile(const std::string& path) : path_(path) {
    const auto alone = h5::library_lock();
    file_ = h5::File::create(path, h5::Exists::refuse, h5::Layout::compatible, seal_bytes);
  }

  // After a failure HDF5 must not touch the disk again.
  ~ShardFile() {
    if (closed_) return;
    const auto alone = h5::library_lock();
    file_.abandon();
    for (h5::Dataset& dataset : datasets_) dataset.release();
    unlink(path_.c_str());
  }

  void lay_out(const ShardName& name, const RunAttributes& attributes, std::span<const SliceData> slices) {
    const auto alone = h5::library_lock();
    describe_file(file_, name, attributes);
    SliceNames names;
    for (const SliceData& slice : slices) {
      datasets_.push_back(add_dataset(file_, names.next(slice.slice.name), slice.slice));
      stored_.push_back({slice.slice, name.index, slice.slice.count > 0 ? datasets_.back().offset() : 0, 0});
    }
  }

  void write_elements(std::span<const SliceData> slices) {
    int64_t end = 0;
    for (const StoredSlice& stored : stored_) end = std::max(end, end_of(stored));
    ElementWriter writer(PosixFile::open_to_change(path_), end);
    for (size_t i = 0; i < slices.size(); ++i) stored_[i].crc = writer.write(slices[i], stored_[i].offset);
  }

  void close() {
    const auto alone = h5::library_lock();
    for (size_t i = 0; i < datasets_.size(); ++i) {
      h5::change_attribute(datasets_[i], "crc32c", int64_t{stored_[i].crc});
    }
    file_.flush();  // where it fails, abandon() can still follow
    for (h5::Dataset& dataset : datasets_) dataset.release();  // closed with the file
    file_.close();
    closed_ = true;
  }

  std::vector<StoredSlice> stored() const { return stored_; }

 private:
  std::string path_;
  h5::File file_;
  std::vector<h5::Dataset> datasets_;
  std::vector<StoredSlice> stored_;
  bool closed_ = false;
};

// The digest of all after the seal: slices have theirs already, what lies between them is small and read back.
uint32_t digest_of_file(const PosixFile& file, std::vector<StoredSlice> slices) {
  std::sort(slices.begin(), slices.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  uint32_t crc = 0;
  int64_t at = seal_bytes;
  const auto append = [&](uint32_t part, int64_t bytes) { crc = crc32c_combine(crc, part, static_cast<uint64_t>(bytes)); };
  for (const StoredSlice& stored : slices) {
    if (stored.slice.count == 0) continue;
    append(digest_of_range(file, at, stored.offset), stored.offset - at);
    append(stored.crc, static_cast<int64_t>(stored.slice.bytes()));
    at = stored.offset + static_cast<int64_t>(stored.slice.bytes());
  }
  append(digest_of_range(file, at, file.size()), file.size() - at);
  return crc;
}

}  // namespace

std::string to_text(const ShardRecord& record) {
  nlohmann::json slices = nlohmann::json::array();
  for (const StoredSlice& s : record.slices) {
    slices.push_back({s.slice.name, h5::element_name(s.slice.element), s.slice.shape, s.slice.box.origin,
                      s.slice.box.extent, s.slice.first, s.slice.count, s.shard, s.offset, s.crc});
  }
  return nlohmann::json{{"file", record.file}, {"bytes", record.bytes}, {"crc", record.crc}, {"slices", slices}}.dump();
}

ShardRecord parse_shard_record(const std::string& text) {
  const auto json = nlohmann::json::parse(text);
  ShardRecord record{json["file"], json["bytes"], json["crc"], {}};
  for (const auto& s : json["slices"]) {
    const TensorSlice slice{s[0], h5::element_named(s[1]).value(), s[2], {s[3], s[4]}, s[5], s[6]};
    record.slices.push_back({slice, s[7], s[8], s[9]});
  }
  return record;
}

ShardRecord write_shard(const std::string& folder, const ShardName& name, const RunAttributes& attributes,
                        std::span<const SliceData> slices) {
  const std::string path = folder + "/" + name.file();
  ShardFile shard(path);
  shard.lay_out(name, attributes, slices);
  shard.write_elements(slices);
  shard.close();
  try {
    PosixFile file = PosixFile::open_to_change(path);
    ShardRecord record{name.file(), file.size(), digest_of_file(file, shard.stored()), shard.stored()};
    write_seal(file, {checkpoint_format_version, record.bytes, record.crc});
    file.sync();
    return record;
  } catch (const Error&) {
    unlink(path.c_str());
    throw;
  }
}

}  // namespace braid
