// SPDX-License-Identifier: Apache-2.0
// Files, datasets and errors of HDF5; attributes are in h5_attribute.cpp, element types in h5_element.cpp.
#include "store/h5.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/error.h"

namespace braid::h5 {
namespace {

// While a live file changes under a reader, HDF5 tries a checksummed block again, sleeping twice as long each time from
// 1 ns. Its default of 100 tries would sleep for ages on a damaged file; 28 end after 0.3 s.
constexpr unsigned metadata_read_attempts = 28;

herr_t keep_innermost(unsigned, const H5E_error2_t* error, void* out) {
  auto& message = *static_cast<std::string*>(out);
  message = error->desc ? error->desc : "";
  return 1;  // stop after the first
}

// "file write failed: time = …, errno = 28, error message = 'No space left on device', buf = 0x…" is for developers of
// HDF5; what a user needs is "file write failed: No space left on device".
std::string shorten(const std::string& message) {
  const std::string mark = "error message = '";
  const size_t start = message.find(mark), colon = message.find(':');
  if (start == std::string::npos || colon == std::string::npos) return message;
  const size_t first = start + mark.size();
  return message.substr(0, colon) + ": " + message.substr(first, message.find('\'', first) - first);
}

H5Id file_access(Layout layout) {
  H5Id access = own(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "HDF5 file access");
  check(H5Pset_file_locking(access, 0, 1), "HDF5 file locking");
  check(H5Pset_fclose_degree(access, H5F_CLOSE_STRONG), "HDF5 close degree");
  check(H5Pset_metadata_read_attempts(access, metadata_read_attempts), "HDF5 read attempts");
  if (layout == Layout::swmr) {
    check(H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST), "HDF5 format version");
  }
  return access;
}

}  // namespace

std::unique_lock<std::recursive_mutex> library_lock() {
  static std::recursive_mutex mutex;
  return std::unique_lock(mutex);
}

H5Id& H5Id::operator=(H5Id&& other) noexcept {
  if (this != &other) {
    reset();
    id_ = std::exchange(other.id_, -1);
    close_ = other.close_;
  }
  return *this;
}

void H5Id::reset() noexcept {
  const hid_t id = std::exchange(id_, -1);
  if (id < 0) return;
  silence();  // a destructor may run on a thread that has made no call yet
  close_(id);
}

void silence() {
  H5dont_atexit();  // effective before the first call only: at exit HDF5 would close damaged files a second time
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

std::string last_error() {
  std::string message;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &message);
  std::replace(message.begin(), message.end(), '\n', ' ');
  return message.empty() ? "HDF5 gave no reason" : shorten(message);
}

int64_t check(int64_t result, const std::string& what) {
  if (result < 0) throw Error(what + ": " + last_error());
  return result;
}

H5Id own(hid_t id, H5Id::Close close, const std::string& what) { return H5Id(check(id, what), close); }

H5Id text_type(size_t width) {
  H5Id type = own(H5Tcopy(H5T_C_S1), H5Tclose, "HDF5 text type");
  check(H5Tset_size(type, std::max<size_t>(width, 1)), "HDF5 text width");
  check(H5Tset_strpad(type, H5T_STR_NULLPAD), "HDF5 text padding");
  check(H5Tset_cset(type, H5T_CSET_UTF8), "HDF5 text encoding");
  return type;
}

File File::create(const std::string& path, Exists exists, Layout layout, int64_t user_block) {
  silence();
  const H5Id access = file_access(layout);
  const H5Id creation = own(H5Pcreate(H5P_FILE_CREATE), H5Pclose, path);
  check(H5Pset_userblock(creation, static_cast<hsize_t>(user_block)), path);
  const unsigned flags = exists == Exists::refuse ? H5F_ACC_EXCL : H5F_ACC_TRUNC;
  return File(own(H5Fcreate(path.c_str(), flags, creation, access), H5Fclose, path), path);
}

File File::open(const std::string& path) {
  silence();
  const H5Id access = file_access(Layout::compatible);
  const unsigned flags = H5F_ACC_RDONLY | H5F_ACC_SWMR_READ;
  return File(own(H5Fopen(path.c_str(), flags, access), H5Fclose, path), path);
}

void File::start_swmr_write() { check(H5Fstart_swmr_write(id_), path_); }

void File::flush() { check(H5Fflush(id_, H5F_SCOPE_LOCAL), path_); }

int File::descriptor() const {
  void* handle = nullptr;
  check(H5Fget_vfd_handle(id_, H5P_DEFAULT, &handle), path_);
  return *static_cast<int*>(handle);
}

void File::close() {
  if (id_ < 0) return;
  // Whether or not H5Fclose succeeds, what the identifier stands for is freed: closing it twice would crash.
  check(H5Fclose(id_.release()), path_);
}

// Closing a distrusted file normally would write what HDF5 still holds, and after a failed write that overwrites good
// metadata: its descriptor is therefore turned into a file in memory first, where closing can do no harm. It must also
// succeed, since a failed H5Fclose leaves dangling identifiers that crash later calls on other files; where even a
// flush into memory fails, the file stays open for ever.
bool File::abandon() noexcept {
  if (id_ < 0) return true;
  try {
    const int nowhere = memfd_create("abandoned", MFD_CLOEXEC);
    const bool away = nowhere >= 0 && dup2(nowhere, descriptor()) >= 0;
    if (nowhere >= 0) ::close(nowhere);
    if (away) flush();
    if (away) close();
    return away;
  } catch (const std::exception&) {
    release();
    return false;
  }
}

Dataset Dataset::open(const File& file, const std::string& name) {
  const std::string label = file.path() + ": /" + name;
  return Dataset(own(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose, label), label);
}

std::vector<int64_t> Dataset::shape() const {
  const H5Id space = own(H5Dget_space(id_), H5Sclose, label_);
  std::array<hsize_t, H5S_MAX_RANK> extent{};
  const int rank = static_cast<int>(check(H5Sget_simple_extent_dims(space, extent.data(), nullptr), label_));
  return {extent.begin(), extent.begin() + rank};
}

int64_t Dataset::count() const {
  const H5Id space = own(H5Dget_space(id_), H5Sclose, label_);
  return check(H5Sget_simple_extent_npoints(space), label_);
}

H5Id Dataset::type() const { return own(H5Dget_type(id_), H5Tclose, label_); }

std::optional<Element> Dataset::element() const {
  const H5Id stored = type();
  for (const Element element : all_elements) {
    if (H5Tequal(stored, element_type(element)) > 0) return element;
  }
  return std::nullopt;
}

int64_t Dataset::offset() const {
  const haddr_t address = H5Dget_offset(id_);
  if (address == HADDR_UNDEF) throw Error(label_ + ": not stored as one contiguous block");
  return static_cast<int64_t>(address);
}

void Dataset::read(hid_t memory_type, void* out) const {
  check(H5Dread(id_, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out), label_);
}

void Dataset::write(hid_t memory_type, const void* data) {
  check(H5Dwrite(id_, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), label_);
}

namespace {

struct RowSelection {
  H5Id memory, file;
};

RowSelection select_rows(const Dataset& dataset, int64_t first, int64_t rows) {
  std::vector<hsize_t> start, extent;
  for (int64_t length : dataset.shape()) extent.push_back(static_cast<hsize_t>(length));
  if (extent.empty()) throw Error(dataset.label() + ": a table was expected, not a single value");
  start.assign(extent.size(), 0);
  start[0] = static_cast<hsize_t>(first);
  extent[0] = static_cast<hsize_t>(rows);
  const int rank = static_cast<int>(extent.size());
  RowSelection selection{own(H5Screate_simple(rank, extent.data(), nullptr), H5Sclose, dataset.label()),
                         own(H5Dget_space(dataset), H5Sclose, dataset.label())};
  check(H5Sselect_hyperslab(selection.file, H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr),
        dataset.label());
  return selection;
}

}  // namespace

void Dataset::read_rows(hid_t memory_type, int64_t first, int64_t rows, void* out) const {
  if (rows == 0) return;
  const RowSelection select = select_rows(*this, first, rows);
  check(H5Dread(id_, memory_type, select.memory, select.file, H5P_DEFAULT, out), label_);
}

void Dataset::write_rows(hid_t memory_type, int64_t first, int64_t rows, const void* data) {
  if (rows == 0) return;
  const RowSelection select = select_rows(*this, first, rows);
  check(H5Dwrite(id_, memory_type, select.memory, select.file, H5P_DEFAULT, data), label_);
}

void Dataset::extend(int64_t rows) {
  std::vector<hsize_t> extent;
  for (int64_t length : shape()) extent.push_back(static_cast<hsize_t>(length));
  if (extent.empty()) throw Error(label_ + ": a table was expected, not a single value");
  extent[0] = static_cast<hsize_t>(rows);
  check(H5Dset_extent(id_, extent.data()), label_);
}

void Dataset::flush() { check(H5Dflush(id_), label_); }

bool exists(const File& file, const std::string& name) {
  return check(H5Lexists(file, name.c_str(), H5P_DEFAULT), file.path() + ": /" + name) > 0;
}

Dataset create_contiguous(File& file, const std::string& name, Element element, int64_t count) {
  const std::string label = file.path() + ": /" + name;
  const hsize_t extent = static_cast<hsize_t>(count);
  const H5Id space = own(H5Screate_simple(1, &extent, nullptr), H5Sclose, label);
  const H5Id creation = own(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, label);
  check(H5Pset_layout(creation, H5D_CONTIGUOUS), label);
  check(H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY), label);
  check(H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER), label);
  const H5Id links = own(H5Pcreate(H5P_LINK_CREATE), H5Pclose, label);
  check(H5Pset_create_intermediate_group(links, 1), label);
  const hid_t dataset = H5Dcreate2(file, name.c_str(), element_type(element), space, links, creation, H5P_DEFAULT);
  return Dataset(own(dataset, H5Dclose, label), label);
}

int64_t dataset_offset(const File& file, const std::string& name) { return Dataset::open(file, name).offset(); }

}  // namespace braid::h5
