// SPDX-License-Identifier: Apache-2.0
#include "models/bnb_tensors.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "kernels/nf4.h"
#include "models/json_fields.h"

namespace braid {

namespace {

constexpr const char* any_state = ".quant_state.bitsandbytes__";
constexpr int64_t map_size = 256;  // of 8-bit codes

[[noreturn]] void refuse(const HfFiles::Found& found, const std::string& expected) {
  throw UsageError(str(found.file->path(), ": tensor ", found.tensor->name, ": expected ", expected, ", found ",
                       h5::element_name(found.tensor->element), " [", extent_text(found.tensor->shape), "]"));
}

void require_count(const HfFiles::Found& found, h5::Element element, int64_t count) {
  const bool good = found.tensor->element == element && elements_of(found.tensor->shape) == count;
  if (!good) refuse(found, str(h5::element_name(element), " of ", count, count == 1 ? " element" : " elements"));
}

HfFiles::Found find_numbers(const HfFiles& files, const std::string& name, int64_t count) {
  const HfFiles::Found& found = files.at(name);
  require_count(found, h5::Element::float32, count);
  const int64_t bad = first_not_finite(h5::Element::float32, found.data(), count);
  if (bad >= 0) {
    throw UsageError(
        str(found.file->path(), ": tensor ", name, ": expected finite numbers, found NaN or infinity at [", bad, "]"));
  }
  return found;
}

// The state's JSON; its fields must be what the kernels compute with.
double read_state(const HfFiles::Found& found, const HfTensor& matrix, bool nested) {
  if (found.tensor->element != h5::Element::uint8) refuse(found, "uint8, the bytes of a JSON object");
  const std::string text(reinterpret_cast<const char*>(found.data()), found.tensor->bytes());
  const std::string where = str(found.file->path(), ": tensor ", found.tensor->name);
  const nlohmann::json object = parse_json_object(text, where);
  const JsonFields state(object, where);
  if (state.text("quant_type", "") != "nf4") state.refuse("quant_type", "\"nf4\"");
  if (state.whole("blocksize", 1, 1 << 20) != kernels::nf4_block) state.refuse("blocksize", "64");
  if (state.ids("shape") != matrix.shape) state.refuse("shape", str("[", extent_text(matrix.shape), "]"));
  if (!nested) return 0;
  if (state.whole("nested_blocksize", 1, 1 << 20) != kernels::nf4_nested_block) state.refuse("nested_blocksize", "256");
  if (state.text("nested_dtype", "float32") != "float32") state.refuse("nested_dtype", "\"float32\"");
  if (!state.has("nested_offset")) state.refuse("nested_offset", "a number");
  return state.number("nested_offset", -1e30, 0);
}

void require_nf4_map(const HfFiles::Found& map) {
  if (std::memcmp(map.data(), kernels::nf4_values, sizeof kernels::nf4_values) == 0) return;
  throw UsageError(
      str(map.file->path(), ": tensor ", map.tensor->name, ": expected the 16 numbers of NF4, found others"));
}

// As Python writes it: the shortest digits that mean this number, and of these the nearest.
std::string shortest_text(double value) {
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
}

}  // namespace

bool holds_bnb_matrices(const HfFiles& files) {
  const auto& all = files.tensors();
  return std::any_of(all.begin(), all.end(),
                     [](const auto& t) { return t.first.find(any_state) != std::string::npos; });
}

BnbMatrix find_bnb_matrix(const HfFiles& files, const HfTensor& tensor) {
  const std::string& name = tensor.name;
  const int64_t count = elements_of(tensor.shape), blocks = kernels::nf4_blocks(count);
  BnbMatrix matrix;
  const auto named = [&](const std::string& part) {
    matrix.names.push_back(name + part);
    return name + part;
  };
  matrix.packed = files.at(named(""));
  const int64_t bytes = kernels::nf4_bytes(count);
  if (int64_t(matrix.packed.tensor->bytes()) != bytes) refuse(matrix.packed, str(bytes, " bytes of 4-bit codes"));
  matrix.absmax = files.at(named(".absmax"));
  const bool nested = matrix.absmax.tensor->element == h5::Element::uint8;
  if (nested) {
    require_count(matrix.absmax, h5::Element::uint8, blocks);
    matrix.nested_absmax = find_numbers(files, named(".nested_absmax"), kernels::nf4_nested_blocks(count));
    matrix.nested_map = find_numbers(files, named(".nested_quant_map"), map_size);
  } else {
    find_numbers(files, name + ".absmax", blocks);
  }
  require_nf4_map(find_numbers(files, named(".quant_map"), std::size(kernels::nf4_values)));
  matrix.offset = read_state(files.at(named(bnb_state_name)), tensor, nested);
  return matrix;
}

std::string bnb_state_text(const Extent& shape, const std::string& dtype, const double* nested_offset) {
  const std::string plain = str("{\"quant_type\": \"nf4\", \"blocksize\": ", kernels::nf4_block, ", \"dtype\": \"",
                                dtype, "\", \"shape\": [", shape.at(0), ", ", shape.at(1), "]");
  if (!nested_offset) return plain + "}";
  return str(plain, ", \"nested_blocksize\": ", kernels::nf4_nested_block, ", \"nested_dtype\": \"float32\", ",
             "\"nested_offset\": ", shortest_text(*nested_offset), "}");
}

}  // namespace braid
