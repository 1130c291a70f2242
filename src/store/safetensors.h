// SPDX-License-Identifier: Apache-2.0
// The safetensors format, in which models are exchanged: 8 bytes little-endian with the length of a JSON header; the
// header, name → {dtype, shape, data_offsets} and perhaps __metadata__, text → text; then all elements, little-endian
// and row-major, one tensor after the other without a gap.
//
// Types: F64 F32 F16 BF16 I64 I32 I8 U32 U16 U8, and BOOL, which is read as uint8 (0 or 1).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "store/posix_file.h"
#include "store/tensor_slice.h"

namespace braid {

struct SafeTensor {
  std::string name;
  h5::Element element = h5::Element::float32;
  Extent shape;
  int64_t offset = 0;  // of its first byte in the file

  TensorSlice whole() const { return whole_tensor(name, element, shape); }
  size_t bytes() const { return static_cast<size_t>(elements_of(shape)) * h5::element_bytes(element); }
};

using SafetensorsMetadata = std::map<std::string, std::string>;

// A file mapped into memory; nothing is read before it is asked for. The header is checked in full when it is opened:
// an Error names the file, the tensor and what is wrong with it. A file that is cut off while open ends the process.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& path() const { return path_; }
  const std::vector<SafeTensor>& tensors() const { return tensors_; }  // in the order of their elements
  const SafetensorsMetadata& metadata() const { return metadata_; }
  const SafeTensor* find(const std::string& name) const;  // null: none of that name
  // All elements of a tensor of tensors(), as they lie in the file; not aligned.
  const std::byte* data(const SafeTensor& tensor) const;
  // Fills `target`'s elements. Error: no such tensor, another shape or element type.
  void read(const TensorSlice& target, std::byte* out) const;

 private:
  void read_header(const PosixFile& file, int64_t bytes);

  std::string path_;
  std::vector<SafeTensor> tensors_;
  std::map<std::string, size_t> by_name_;
  SafetensorsMetadata metadata_;
  void* map_ = nullptr;
  size_t mapped_bytes_ = 0;
};

// Writes PATH.new, which becomes PATH with commit(); without it nothing is left. Error when a write fails.
class SafetensorsWriter {
 public:
  // Tensors lie in the order given, their offsets do not count. Each is aligned to its element's size where wider
  // elements come before narrower ones. UsageError: a name twice or __metadata__.
  SafetensorsWriter(const std::string& path, const std::vector<SafeTensor>& tensors,
                    const SafetensorsMetadata& metadata);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // The next bytes of the elements of all tensors, in pieces of any size.
  void write(const std::byte* data, size_t bytes);
  // Makes the file last. Error when elements are missing.
  void commit();

 private:
  std::string path_, temporary_;
  PosixFile file_;
  int64_t next_ = 0, end_ = 0;
  bool committed_ = false;
};

}  // namespace braid
