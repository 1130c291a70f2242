// SPDX-License-Identifier: Apache-2.0
#include "store/safetensors.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"

namespace braid {

namespace {

using Json = nlohmann::json;

constexpr int64_t length_bytes = 8, longest_header = 100'000'000;  // the format's own limit
constexpr int deepest_header = 3;                                  // of a list within a tensor's entry
constexpr const char* metadata_key = "__metadata__";

struct TypeName {
  const char* name;
  h5::Element element;
};
constexpr std::array type_names = {
    TypeName{"F64", h5::Element::float64}, TypeName{"F32", h5::Element::float32},
    TypeName{"F16", h5::Element::float16}, TypeName{"BF16", h5::Element::bfloat16},
    TypeName{"I64", h5::Element::int64},   TypeName{"I32", h5::Element::int32},
    TypeName{"I8", h5::Element::int8},     TypeName{"U32", h5::Element::uint32},
    TypeName{"U16", h5::Element::uint16},  TypeName{"U8", h5::Element::uint8},
    TypeName{"BOOL", h5::Element::uint8}};

h5::Element element_of(const std::string& type) {
  std::string known;
  for (const TypeName& entry : type_names) {
    if (type == entry.name) return entry.element;
    known += str(known.empty() ? "" : ", ", entry.name);
  }
  throw Error(str("dtype ", type, " is not one of ", known));
}

const char* type_name(h5::Element element) {
  return std::find_if(type_names.begin(), type_names.end(), [&](const auto& t) { return t.element == element; })->name;
}

// JSON text to a value; a key that comes twice or lists within lists make it no header.
Json parse_header(const std::string& text) {
  std::set<std::string> keys;
  const auto check = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > deepest_header) throw Error("the header is nested too deeply");
    if (depth == 1 && event == Json::parse_event_t::key && !keys.insert(value.get<std::string>()).second) {
      throw Error(str("tensor ", value.get<std::string>(), ": is there twice"));
    }
    return true;
  };
  Json header = Json::parse(text, check);
  if (!header.is_object()) throw Error("the header is no JSON object");
  return header;
}

const Json& field(const Json& entry, const char* name) {
  const auto found = entry.is_object() ? entry.find(name) : entry.end();
  if (!entry.is_object() || found == entry.end()) throw Error(str(name, " is missing"));
  return *found;
}

std::vector<int64_t> whole_numbers(const Json& entry, const char* name) {
  const Json& list = field(entry, name);
  const auto fits = [](const Json& item) {
    return item.is_number_unsigned() && item.get<uint64_t>() <= uint64_t{INT64_MAX};
  };
  if (!list.is_array() || !std::all_of(list.begin(), list.end(), fits)) {
    throw Error(str(name, ": expected a list of whole numbers from 0"));
  }
  return list.get<std::vector<int64_t>>();
}

int64_t bytes_of_shape(const Extent& shape, h5::Element element) {
  auto bytes = static_cast<int64_t>(h5::element_bytes(element));
  for (const int64_t length : shape) {
    if (__builtin_mul_overflow(bytes, length, &bytes)) throw Error("shape: more elements than a file can hold");
  }
  return bytes;
}

// One entry of the header; `payload` is where elements begin in the file.
SafeTensor parse_tensor(const std::string& name, const Json& entry, int64_t payload, int64_t payload_bytes) {
  const Json& type = field(entry, "dtype");
  if (!type.is_string()) throw Error("dtype: expected a text");
  const SafeTensor tensor{name, element_of(type.get<std::string>()), whole_numbers(entry, "shape"), 0};
  const std::vector<int64_t> range = whole_numbers(entry, "data_offsets");
  if (range.size() != 2 || range[0] > range[1]) throw Error("data_offsets: expected [begin, end]");
  if (range[1] > payload_bytes) {
    throw Error(str("data_offsets: end at ", range[1], ", the file has ", payload_bytes,
                    " bytes of elements: it was cut off"));
  }
  const int64_t needed = bytes_of_shape(tensor.shape, tensor.element);
  if (range[1] - range[0] != needed) {
    throw Error(str("data_offsets: hold ", range[1] - range[0], " bytes, shape and dtype need ", needed));
  }
  return {tensor.name, tensor.element, tensor.shape, payload + range[0]};
}

SafetensorsMetadata parse_metadata(const Json& entry) {
  const auto is_text = [](const Json& value) { return value.is_string(); };
  if (!entry.is_object() || !std::all_of(entry.begin(), entry.end(), is_text)) {
    throw Error(str(metadata_key, ": expected texts by name"));
  }
  return entry.get<SafetensorsMetadata>();
}

// Every byte of the payload belongs to one tensor.
void require_contiguous(std::vector<SafeTensor>& tensors, int64_t payload, int64_t end) {
  std::sort(tensors.begin(), tensors.end(), [](const SafeTensor& a, const SafeTensor& b) {
    return std::pair(a.offset, a.bytes()) < std::pair(b.offset, b.bytes());
  });
  int64_t next = payload;
  for (const SafeTensor& tensor : tensors) {
    if (tensor.offset != next) {
      throw Error(str("tensor ", tensor.name, ": data_offsets: begin at ", tensor.offset - payload,
                      ", the tensor before ends at ", next - payload));
    }
    next += static_cast<int64_t>(tensor.bytes());
  }
  if (next != end) throw Error(str(end - next, " bytes after the last tensor belong to none"));
}

std::string header_text(const PosixFile& file, int64_t file_bytes) {
  if (file_bytes < length_bytes) throw Error(str(file_bytes, " bytes are too few for a safetensors file"));
  uint64_t length = 0;
  file.read(&length, sizeof length, 0);
  const int64_t most = std::min(file_bytes - length_bytes, longest_header);
  if (length > static_cast<uint64_t>(most)) {
    throw Error(str("not a safetensors file, or cut off: its header would be ", length, " bytes long, at most ", most,
                    " are possible"));
  }
  std::string text(length, ' ');
  file.read(text.data(), text.size(), length_bytes);
  if (!text.starts_with('{')) throw Error("not a safetensors file: its header is no JSON object");
  return text;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path) {
  const PosixFile file = PosixFile::open_to_read(path);
  const int64_t bytes = file.size();
  try {
    read_header(file, bytes);
  } catch (const Error& problem) {
    const std::string what = problem.what();
    throw Error(what.starts_with(path + ": ") ? what : str(path, ": ", what));
  } catch (const Json::exception& problem) {
    throw Error(str(path, ": the header is not valid JSON: ", problem.what()));
  }
  mapped_bytes_ = static_cast<size_t>(bytes);
  map_ = mmap(nullptr, mapped_bytes_, PROT_READ, MAP_SHARED, file.descriptor(), 0);
  if (map_ == MAP_FAILED) throw Error(str(path, ": cannot be mapped: ", std::strerror(errno)));
}

SafetensorsFile::~SafetensorsFile() { munmap(map_, mapped_bytes_); }

void SafetensorsFile::read_header(const PosixFile& file, int64_t bytes) {
  const std::string text = header_text(file, bytes);
  const int64_t payload = length_bytes + static_cast<int64_t>(text.size());
  const Json header = parse_header(text);
  for (const auto& [name, entry] : header.items()) {
    if (name == metadata_key) {
      metadata_ = parse_metadata(entry);
      continue;
    }
    try {
      tensors_.push_back(parse_tensor(name, entry, payload, bytes - payload));
    } catch (const Error& problem) {
      throw Error(str("tensor ", name, ": ", problem.what()));
    }
  }
  require_contiguous(tensors_, payload, bytes);
  for (size_t i = 0; i < tensors_.size(); ++i) by_name_[tensors_[i].name] = i;
}

const SafeTensor* SafetensorsFile::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

const std::byte* SafetensorsFile::data(const SafeTensor& tensor) const {
  return static_cast<const std::byte*>(map_) + tensor.offset;
}

void SafetensorsFile::read(const TensorSlice& target, std::byte* out) const {
  const SafeTensor* tensor = find(target.name);
  if (!tensor) throw Error(str(path_, ": has no tensor ", target.name));
  if (tensor->shape != target.shape || tensor->element != target.element) {
    throw Error(str(path_, ": tensor ", target.name, " is ", h5::element_name(tensor->element), " [",
                    extent_text(tensor->shape), "], expected ", h5::element_name(target.element), " [",
                    extent_text(target.shape), "]"));
  }
  if (target.count > 0) copy_overlap(tensor->whole(), data(*tensor), target, out);
}

namespace {

std::string json_text(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

// The header padded with spaces to a multiple of 8, and the bytes of all elements.
std::pair<std::string, int64_t> make_header(const std::vector<SafeTensor>& tensors, const SafetensorsMetadata& metadata,
                                            const std::string& path) {
  std::string text = metadata.empty() ? "" : str('"', metadata_key, "\":", json_text(metadata));
  std::set<std::string> names = {metadata_key};
  int64_t offset = 0;
  for (const SafeTensor& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      throw UsageError(str(path, ": tensor ", tensor.name, ": a name that is taken"));
    }
    const int64_t end = offset + static_cast<int64_t>(tensor.bytes());
    const Json entry = {{"dtype", type_name(tensor.element)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    text += str(text.empty() ? "" : ",", json_text(tensor.name), ":", json_text(entry));
    offset = end;
  }
  text = "{" + text + "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return {text, offset};
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::string& path, const std::vector<SafeTensor>& tensors,
                                     const SafetensorsMetadata& metadata)
    : path_(path), temporary_(path + ".new"), file_(PosixFile::create(temporary_)) {
  try {
    const auto [header, bytes] = make_header(tensors, metadata, path);
    const uint64_t length = header.size();
    file_.write(&length, sizeof length, 0);
    file_.write(header.data(), header.size(), length_bytes);
    next_ = length_bytes + static_cast<int64_t>(header.size());
    end_ = next_ + bytes;
  } catch (const Error&) {
    remove_file(temporary_);
    throw;
  }
}

SafetensorsWriter::~SafetensorsWriter() {
  if (!committed_) remove_file(temporary_);
}

void SafetensorsWriter::write(const std::byte* data, size_t bytes) {
  if (next_ + static_cast<int64_t>(bytes) > end_) throw Error(str(path_, ": more elements than its header says"));
  file_.write(data, bytes, next_);
  next_ += static_cast<int64_t>(bytes);
}

void SafetensorsWriter::commit() {
  if (next_ != end_) throw Error(str(path_, ": ", end_ - next_, " bytes of elements are missing"));
  file_.sync();
  rename_file(temporary_, path_);
  committed_ = true;
}

}  // namespace braid
