// SPDX-License-Identifier: Apache-2.0
// Tensors with known elements, cut in random ways, for tests of the checkpoint store.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>

#include "store/checkpoint_manifest.h"

namespace braid {

struct KnownTensor {
  TensorSlice whole;
  std::vector<std::byte> bytes;  // row-major
};

inline KnownTensor known_tensor(const std::string& name, h5::Element element, const Extent& shape, uint32_t seed) {
  KnownTensor tensor{whole_tensor(name, element, shape), {}};
  std::mt19937 chance(seed);
  tensor.bytes.resize(tensor.whole.bytes());
  for (std::byte& byte : tensor.bytes) byte = static_cast<std::byte>(chance());
  return tensor;
}

// The slice's elements.
inline std::vector<std::byte> part_of_tensor(const KnownTensor& tensor, const TensorSlice& slice) {
  std::vector<std::byte> part(slice.bytes());
  copy_overlap(tensor.whole, tensor.bytes.data(), slice, part.data());
  return part;
}

// Cuts intervals of one slice: `parts` of them, some perhaps empty.
inline std::vector<TensorSlice> cut_flat(const TensorSlice& slice, int64_t parts, std::mt19937& chance) {
  std::vector<int64_t> borders = {0, slice.count};
  for (int64_t i = 1; i < parts; ++i) borders.push_back(std::uniform_int_distribution<int64_t>(0, slice.count)(chance));
  std::sort(borders.begin(), borders.end());
  std::vector<TensorSlice> pieces;
  for (size_t i = 0; i + 1 < borders.size(); ++i) {
    TensorSlice piece = slice;
    piece.first += borders[i];
    piece.count = borders[i + 1] - borders[i];
    pieces.push_back(piece);
  }
  return pieces;
}

// Cuts boxes along one dimension: tensor-parallel parts.
inline std::vector<TensorSlice> cut_boxes(const TensorSlice& slice, int64_t parts, std::mt19937& chance) {
  if (slice.shape.empty()) return {slice};
  const size_t d = chance() % slice.shape.size();
  std::vector<TensorSlice> pieces;
  for (int64_t i = 0; i < parts; ++i) {
    TensorSlice piece = slice;
    piece.box.origin[d] = slice.shape[d] * i / parts;
    piece.box.extent[d] = slice.shape[d] * (i + 1) / parts - piece.box.origin[d];
    piece.count = elements_of(piece.box.extent);
    if (piece.count > 0) pieces.push_back(piece);
  }
  return pieces;
}

enum class Cut { whole, boxes, flat, flat_boxes };

inline std::vector<TensorSlice> cut_tensor(const TensorSlice& whole, Cut cut, int64_t parts, std::mt19937& chance) {
  if (cut == Cut::whole) return {whole};
  if (cut == Cut::flat) return cut_flat(whole, parts, chance);
  std::vector<TensorSlice> pieces = cut_boxes(whole, parts, chance);
  if (cut == Cut::boxes) return pieces;
  std::vector<TensorSlice> finer;
  for (const TensorSlice& box : pieces) {
    for (const TensorSlice& piece : cut_flat(box, 2, chance)) finer.push_back(piece);
  }
  return finer;
}

// Writes shards of `tensors`, each cut in a way of its own and dealt out at random, at most one slice of a tensor in a
// shard (its dataset has the tensor's name).
inline std::vector<ShardRecord> write_random_shards(const std::string& folder, const std::vector<KnownTensor>& tensors,
                                                    int64_t shards, std::mt19937& chance) {
  std::vector<std::vector<TensorSlice>> dealt(static_cast<size_t>(shards));
  for (const KnownTensor& tensor : tensors) {
    const int64_t parts = std::uniform_int_distribution<int64_t>(1, shards)(chance);
    std::vector<TensorSlice> pieces = cut_tensor(tensor.whole, Cut(chance() % 3), parts, chance);
    pieces.resize(static_cast<size_t>(std::max<int64_t>(shards, std::ssize(pieces))));
    std::shuffle(pieces.begin(), pieces.end(), chance);
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (!pieces[i].name.empty()) dealt[i].push_back(pieces[i]);
    }
  }
  std::vector<ShardRecord> records;
  for (int64_t shard = 0; shard < shards; ++shard) {
    std::vector<std::vector<std::byte>> kept;
    std::vector<SliceData> slices;
    for (const TensorSlice& slice : dealt[static_cast<size_t>(shard)]) {
      const auto tensor = std::find_if(tensors.begin(), tensors.end(),
                                       [&](const KnownTensor& one) { return one.whole.name == slice.name; });
      kept.push_back(part_of_tensor(*tensor, slice));
      slices.push_back({slice, kept.back().data()});
    }
    records.push_back(write_shard(folder, {shard, shards}, {}, slices));
  }
  return records;
}

}  // namespace braid
