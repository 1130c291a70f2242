// SPDX-License-Identifier: Apache-2.0
// RAII over the plain C API of HDF5 1.10.8 (serial). Every failed call throws braid::Error that carries HDF5's own
// innermost message; HDF5's own printing is off. Strings are fixed-length UTF-8, never variable-length heaps. Not
// locked: one thread owns a file and its objects.
#pragma once

#include <hdf5.h>

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace braid::h5 {

// HDF5 need not be built thread-safe. Where several threads of a process may call it at a time (the run file's and the
// checkpoint's), each holds this lock around its calls; payload moves outside of it.
std::unique_lock<std::recursive_mutex> library_lock();

// Owns one HDF5 identifier and the function that closes it.
class H5Id {
 public:
  using Close = herr_t (*)(hid_t);
  H5Id() = default;
  H5Id(hid_t id, Close close) : id_(id), close_(close) {}
  H5Id(H5Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  H5Id& operator=(H5Id&& other) noexcept;
  ~H5Id() { reset(); }
  operator hid_t() const { return id_; }
  void reset() noexcept;  // closes; a failure is dropped
  hid_t release() noexcept { return std::exchange(id_, -1); }  // gives it up without closing

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

// Switches HDF5's printing off for the calling thread (the setting is per thread); needed before any call on it.
void silence();
// Innermost message of the calling thread's last failed HDF5 call, on one line.
std::string last_error();
// Throws Error(`what` + ": " + last_error()) when `result` is negative, else returns it.
int64_t check(int64_t result, const std::string& what);
// Takes ownership of a new identifier, checked as above.
H5Id own(hid_t id, H5Id::Close close, const std::string& what);

// Stored little-endian. bfloat16 is 1 sign, 8 exponent and 7 mantissa bits: HDF5 has no such type of its own, but reads
// and converts any float whose fields are described, so that h5py shows numbers.
enum class Element { uint8, int8, uint16, uint32, int32, int64, float16, bfloat16, float32, float64 };
inline constexpr std::array all_elements = {
    Element::uint8,   Element::int8,     Element::uint16,  Element::uint32, Element::int32, Element::int64,
    Element::float16, Element::bfloat16, Element::float32, Element::float64};
hid_t element_type(Element element);  // lives as long as the library
size_t element_bytes(Element element);
const char* element_name(Element element);                        // "bfloat16"
std::optional<Element> element_named(const std::string& name);
H5Id text_type(size_t width);  // UTF-8, padded with NUL

enum class Layout { compatible, swmr };  // swmr: latest format, the only one that takes live readers
enum class Exists { refuse, replace };

class File {
 public:
  File() = default;
  // Without file locks: the locks of 1.10 fail on NFS and Lustre, and a reader's lock would stop a restart.
  // user_block: bytes in front of HDF5's own, 0 or a power of two from 512.
  static File create(const std::string& path, Exists exists = Exists::refuse, Layout layout = Layout::compatible,
                     int64_t user_block = 0);
  // Read-only, without locks; files that are being written by SWMR or were left by a killed writer open too.
  static File open(const std::string& path);

  operator hid_t() const { return id_; }
  const std::string& path() const { return path_; }
  void start_swmr_write();
  void flush();
  int descriptor() const;  // the file descriptor HDF5 writes through
  void close();            // with everything open in it
  void release() noexcept { id_.release(); }
  // Lets go of a distrusted file (a write failed) so that HDF5 cannot change it any more; objects open in it must then
  // be released. False when HDF5 would not close it: this process must not open it again, because HDF5 would answer
  // from what it still holds.
  bool abandon() noexcept;

 private:
  File(H5Id id, std::string path) : id_(std::move(id)), path_(std::move(path)) {}
  H5Id id_;
  std::string path_;
};

class Dataset {
 public:
  Dataset() = default;
  Dataset(H5Id id, std::string label) : id_(std::move(id)), label_(std::move(label)) {}
  static Dataset open(const File& file, const std::string& name);

  operator hid_t() const { return id_; }
  const std::string& label() const { return label_; }  // "FILE: /name", for messages
  std::vector<int64_t> shape() const;
  int64_t count() const;                 // elements
  H5Id type() const;                     // as stored
  std::optional<Element> element() const;  // nullopt for compound, text and other types
  // Position of a contiguous dataset's first byte in the file, user block included.
  int64_t offset() const;
  void read(hid_t memory_type, void* out) const;
  void write(hid_t memory_type, const void* data);
  // Rows [first, first + rows) along the first dimension, whole width.
  void read_rows(hid_t memory_type, int64_t first, int64_t rows, void* out) const;
  void write_rows(hid_t memory_type, int64_t first, int64_t rows, const void* data);
  void extend(int64_t rows);  // sets the first dimension
  void flush();
  void release() noexcept { id_.release(); }  // for after File::close, which closes all that is open in the file

 private:
  H5Id id_;
  std::string label_;
};

bool exists(const File& file, const std::string& name);

// One-dimensional, contiguous, allocated at once and never filled: the caller writes the payload with pwrite at
// dataset_offset() on any thread. The space reads as zeros or garbage until then. Groups in `name` are made.
Dataset create_contiguous(File& file, const std::string& name, Element element, int64_t count);
int64_t dataset_offset(const File& file, const std::string& name);

// Attributes of a file's root or of a dataset (both convert to hid_t).
bool has_attribute(hid_t object, const std::string& name);
void set_attribute(hid_t object, const std::string& name, int64_t value);  // must be new
void change_attribute(hid_t object, const std::string& name, int64_t value);  // must be there
void set_attribute(hid_t object, const std::string& name, double value);
void set_attribute(hid_t object, const std::string& name, const std::string& value);
int64_t int_attribute(hid_t object, const std::string& name);
double double_attribute(hid_t object, const std::string& name);
std::string text_attribute(hid_t object, const std::string& name);  // fixed- or variable-length
// All attributes that are one number or text, by name; others are left out.
using Scalar = std::variant<int64_t, double, std::string>;
std::map<std::string, Scalar> scalar_attributes(hid_t object);

// The one-dimensional datasets of numbers directly in a group, by name.
using NumberList = std::variant<std::vector<int64_t>, std::vector<double>>;
std::map<std::string, NumberList> lists_in(const File& file, const std::string& group);

}  // namespace braid::h5
