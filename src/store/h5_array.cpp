// SPDX-License-Identifier: Apache-2.0
#include "store/h5_array.h"

#include "base/error.h"
#include "store/posix_file.h"
#include "store/sealed_file.h"

namespace braid {

namespace h5 {

Dataset create_array(File& file, const std::string& name, Element element, const std::vector<int64_t>& shape) {
  const std::string label = file.path() + ": /" + name;
  const std::vector<hsize_t> extent(shape.begin(), shape.end());
  const H5Id space = own(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), H5Sclose, label);
  const H5Id creation = own(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, label);
  check(H5Pset_layout(creation, H5D_CONTIGUOUS), label);
  const hid_t id = H5Dcreate2(file, name.c_str(), element_type(element), space, H5P_DEFAULT, creation, H5P_DEFAULT);
  return Dataset(own(id, H5Dclose, label), label);
}

}  // namespace h5

namespace {

void write_unsealed(const std::string& path, const std::function<void(h5::File&)>& fill) {
  const auto alone = h5::library_lock();
  h5::File file = h5::File::create(path, h5::Exists::replace, h5::Layout::compatible, seal_bytes);
  try {
    fill(file);
    file.flush();
    file.close();
  } catch (const Error&) {
    file.abandon();
    throw;
  }
}

void seal(const std::string& path) {
  PosixFile file = PosixFile::open_to_change(path);
  const int64_t bytes = file.size();
  write_seal(file, {checkpoint_format_version, bytes, digest_of_range(file, seal_bytes, bytes)});
  file.sync();
}

}  // namespace

void write_sealed_h5(const std::string& path, const std::function<void(h5::File&)>& fill) {
  const std::string fresh = path + ".new";
  try {
    write_unsealed(fresh, fill);
    seal(fresh);
  } catch (const Error&) {
    remove_file(fresh);
    throw;
  }
  rename_file(fresh, path);
}

}  // namespace braid
