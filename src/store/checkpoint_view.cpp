// SPDX-License-Identifier: Apache-2.0
#include "store/checkpoint_view.h"

#include <limits>

#include "base/error.h"
#include "store/slice_names.h"

namespace braid {

namespace {

using h5::check;
using h5::H5Id;
using h5::own;

struct Piece {
  const StoredSlice* slice;
  const std::string* shard;  // its file
  std::string dataset;       // its name there
};

std::vector<hsize_t> sizes(const Extent& extent) { return {extent.begin(), extent.end()}; }

// One box of the tensor from a run of elements of the shard's one-dimensional dataset.
void map_box(hid_t creation, hid_t view, const Piece& piece, const TensorBox& box, int64_t first, const std::string& label) {
  const std::vector<hsize_t> origin = sizes(box.origin), extent = sizes(box.extent);
  check(H5Sselect_hyperslab(view, H5S_SELECT_SET, origin.data(), nullptr, extent.data(), nullptr), label);
  const auto all = static_cast<hsize_t>(piece.slice->slice.count), start = static_cast<hsize_t>(first);
  const auto count = static_cast<hsize_t>(elements_of(box.extent));
  const H5Id source = own(H5Screate_simple(1, &all, nullptr), H5Sclose, label);
  check(H5Sselect_hyperslab(source, H5S_SELECT_SET, &start, nullptr, &count, nullptr), label);
  check(H5Pset_virtual(creation, view, piece.shard->c_str(), ("/" + piece.dataset).c_str(), source), label);
}

void map_slice(hid_t creation, hid_t view, const Piece& piece, const std::string& label) {
  int64_t first = 0;
  for (const TensorBox& box : boxes_of(piece.slice->slice)) {
    map_box(creation, view, piece, box, first, label);
    first += elements_of(box.extent);
  }
}

bool is_float(h5::Element element) {
  return element == h5::Element::float16 || element == h5::Element::bfloat16 || element == h5::Element::float32 ||
         element == h5::Element::float64;
}

void add_view(h5::File& file, const TensorSlice& tensor, const std::vector<Piece>& pieces) {
  if (tensor.shape.empty() || tensor.count == 0) return;
  const std::string name = "view/" + tensor.name, label = file.path() + ": /" + name;
  const std::vector<hsize_t> shape = sizes(tensor.shape);
  const H5Id view = own(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr), H5Sclose, label);
  const H5Id creation = own(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, label);
  const float missing = std::numeric_limits<float>::quiet_NaN();
  if (is_float(tensor.element)) check(H5Pset_fill_value(creation, H5T_NATIVE_FLOAT, &missing), label);
  for (const Piece& piece : pieces) map_slice(creation, view, piece, label);
  const H5Id links = own(H5Pcreate(H5P_LINK_CREATE), H5Pclose, label);
  check(H5Pset_create_intermediate_group(links, 1), label);
  H5Id(check(H5Dcreate2(file, name.c_str(), h5::element_type(tensor.element), view, links, creation, H5P_DEFAULT), label),
       H5Dclose);
}

}  // namespace

void add_views(h5::File& file, const std::map<std::string, TensorSlice>& tensors, const std::vector<ShardRecord>& shards) {
  std::map<std::string, std::vector<Piece>> pieces;
  for (const ShardRecord& shard : shards) {
    SliceNames names;
    for (const StoredSlice& stored : shard.slices) {
      pieces[stored.slice.name].push_back({&stored, &shard.file, names.next(stored.slice.name)});
    }
  }
  for (const auto& [name, tensor] : tensors) add_view(file, tensor, pieces.at(name));
}

}  // namespace braid
