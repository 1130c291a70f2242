// SPDX-License-Identifier: Apache-2.0
#include "store/checkpoint_reader.h"

#include <algorithm>

#include "base/error.h"
#include "store/crc32c.h"
#include "store/sealed_file.h"

namespace braid {

Manifest verify_checkpoint(const std::string& folder, int part, int parts) {
  Manifest manifest = read_manifest(folder);
  for (size_t shard = 0; shard < manifest.shards.size(); ++shard) {
    const ShardRecord& record = manifest.shards[shard];
    const std::string path = folder + "/" + record.file;
    const bool mine = shard % static_cast<size_t>(parts) == static_cast<size_t>(part);
    const Seal seal = mine ? verify_sealed_file(path) : read_seal(PosixFile::open_to_read(path));
    if (seal.crc != record.crc || seal.file_bytes != record.bytes) {
      throw Error(path + ": not the shard that the manifest was written for");
    }
  }
  return manifest;
}

CheckpointReader::CheckpointReader(std::string folder, Manifest manifest)
    : folder_(std::move(folder)), manifest_(std::move(manifest)) {
  for (auto& [name, whole] : manifest_.tensors()) tensors_[name].whole = whole;
  for (const ShardRecord& shard : manifest_.shards) {
    for (const StoredSlice& stored : shard.slices) tensors_[stored.slice.name].slices.push_back(stored);
  }
}

std::string CheckpointReader::shard_path(const StoredSlice& stored) const {
  return folder_ + "/" + manifest_.shards.at(static_cast<size_t>(stored.shard)).file;
}

const CheckpointReader::Tensor& CheckpointReader::find(const std::string& tensor) const {
  const auto found = tensors_.find(tensor);
  if (found == tensors_.end()) throw Error(str(folder_, ": has no tensor ", tensor));
  return found->second;
}

h5::Element CheckpointReader::element(const std::string& tensor) const { return find(tensor).whole.element; }

void CheckpointReader::read(const TensorSlice& target, std::byte* out) const {
  const Tensor& found = find(target.name);
  const TensorSlice& whole = found.whole;
  if (whole.shape != target.shape || whole.element != target.element) {
    throw Error(str(folder_, ": tensor ", target.name, " is ", h5::element_name(whole.element), " [",
                    extent_text(whole.shape), "], expected ", h5::element_name(target.element), " [",
                    extent_text(target.shape), "]"));
  }
  int64_t filled = 0;
  for (const StoredSlice& stored : found.slices) filled += read_part(stored, target, out);
  if (filled != target.count) {
    throw Error(str(folder_, ": tensor ", target.name, ": ", target.count - filled, " elements are in no shard"));
  }
}

int64_t CheckpointReader::read_part(const StoredSlice& stored, const TensorSlice& target, std::byte* out) const {
  const TensorSlice& source = stored.slice;
  if (source.box == target.box) {  // the interval of one in that of the other
    const int64_t low = std::max(source.first, target.first);
    const int64_t high = std::min(source.first + source.count, target.first + target.count);
    if (low >= high) return 0;
    const auto element = static_cast<int64_t>(h5::element_bytes(source.element));
    std::byte* to = out + (low - target.first) * element;
    if (high - low == source.count) {
      read_whole_slice(stored, to);
    } else {
      PosixFile::open_to_read(shard_path(stored))
          .read(to, static_cast<size_t>((high - low) * element), stored.offset + (low - source.first) * element);
    }
    return high - low;
  }
  if (overlap_of(source, target) == 0) return 0;
  std::vector<std::byte> elements(source.bytes());
  read_whole_slice(stored, elements.data());
  return copy_overlap(source, elements.data(), target, out);
}

void CheckpointReader::read_whole_slice(const StoredSlice& stored, std::byte* out) const {
  const PosixFile file = PosixFile::open_to_read(shard_path(stored));
  file.read(out, stored.slice.bytes(), stored.offset);
  if (crc32c(out, stored.slice.bytes()) != stored.crc) {
    throw Error(str(file.path(), ": damaged: the CRC-32C of tensor ", stored.slice.name, " does not fit"));
  }
}

}  // namespace braid
