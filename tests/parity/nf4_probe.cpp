// SPDX-License-Identifier: Apache-2.0
// Runs the NF4 kernels on the tensors of a safetensors file, so that a Python test can compare what bitsandbytes makes of
// them: nf4_probe COMMAND IN OUT, where COMMAND is
//   maps        → signed, unsigned
//   quantise    x (, offset) → packed, absmax (, codes, nested)
//   dequantise  packed, absmax (, codes, map, offset), like [rows, columns] → float32, bfloat16
#include <iostream>

#include "../kernels/tensor_files.h"
#include "kernels/dynamic_map.h"
#include "kernels/nf4.h"

namespace braid::kernels {
namespace {

using namespace braid::test;

Element element_of(const Array& array) {
  return array.element == h5::Element::bfloat16 ? Element::bfloat16 : Element::float32;
}

Arrays maps() {
  Arrays out;
  const auto add = [&](const char* name, const DynamicMap& map) {
    out[name] = zeros(h5::Element::float32, {dynamic_map_size});
    std::memcpy(out[name].bytes.data(), map.value.data(), out[name].bytes.size());
  };
  add("signed", signed_dynamic_map());
  add("unsigned", unsigned_dynamic_map());
  return out;
}

Arrays quantise(const Arrays& in) {
  const Array& x = in.at("x");
  Arrays out;
  Array& packed = out["packed"] = zeros(h5::Element::uint8, {nf4_bytes(x.count())});
  Array& absmax = out["absmax"] = zeros(h5::Element::float32, {nf4_blocks(x.count())});
  nf4_quantise({}, x.count(), element_of(x), x.bytes.data(), packed.as<uint8_t>(), absmax.as<float>());
  if (!in.count("offset")) return out;
  Array& codes = out["codes"] = zeros(h5::Element::uint8, absmax.shape);
  Array& nested = out["nested"] = zeros(h5::Element::float32, {nf4_nested_blocks(x.count())});
  nf4_nest({}, absmax.count(), absmax.as<float>(), *in.at("offset").as<float>(), codes.as<uint8_t>(), nested.as<float>());
  return out;
}

Nf4Matrix matrix_of(const Arrays& in, const Extent& shape) {
  Nf4Matrix matrix{shape.at(0), shape.at(1), in.at("packed").as<uint8_t>(), {in.at("absmax").as<float>()}};
  if (in.count("codes")) {
    matrix.scales.codes = in.at("codes").as<uint8_t>();
    matrix.scales.map = in.at("map").as<float>();
    matrix.scales.offset = *in.at("offset").as<float>();
  }
  return matrix;
}

Arrays dequantise(const Arrays& in) {
  const Extent& shape = in.at("like").shape;
  const Nf4Matrix matrix = matrix_of(in, shape);
  Arrays out;
  const auto add = [&](const char* name, h5::Element stored, Element element) {
    out[name] = zeros(stored, shape);
    nf4_dequantise({}, matrix, {0, matrix.rows, 0, matrix.columns}, element, out[name].bytes.data());
  };
  add("float32", h5::Element::float32, Element::float32);
  add("bfloat16", h5::Element::bfloat16, Element::bfloat16);
  return out;
}

Arrays run(const std::string& command, const Arrays& in) {
  if (command == "maps") return maps();
  if (command == "quantise") return quantise(in);
  if (command == "dequantise") return dequantise(in);
  throw UsageError("unknown command " + command);
}

}  // namespace
}  // namespace braid::kernels

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  try {
    braid::test::write_arrays(words.at(2), braid::kernels::run(words.at(0), braid::test::read_arrays(words.at(1))));
  } catch (const std::exception& problem) {
    std::cerr << problem.what() << "\n";
    return 1;
  }
}
