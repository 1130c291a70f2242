// SPDX-License-Identifier: Apache-2.0
// The element types that files of Braid hold, as HDF5 types, sizes and names.
#include "base/error.h"
#include "store/h5.h"

namespace braid::h5 {
namespace {

// A float of 16 bits: sign, exponent and mantissa from the top.
hid_t make_half(size_t exponent_bits, size_t bias) {
  const size_t mantissa_bits = 15 - exponent_bits;
  const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
  check(H5Tset_fields(type, 15, mantissa_bits, exponent_bits, 0, mantissa_bits), "HDF5 float of 16 bits");
  check(H5Tset_precision(type, 16), "HDF5 float of 16 bits");
  check(H5Tset_size(type, 2), "HDF5 float of 16 bits");
  check(H5Tset_ebias(type, bias), "HDF5 float of 16 bits");
  return type;
}

}  // namespace

hid_t element_type(Element element) {
  static const hid_t float16 = make_half(5, 15), bfloat16 = make_half(8, 127);
  switch (element) {
    case Element::uint8: return H5T_STD_U8LE;
    case Element::int8: return H5T_STD_I8LE;
    case Element::uint16: return H5T_STD_U16LE;
    case Element::uint32: return H5T_STD_U32LE;
    case Element::int32: return H5T_STD_I32LE;
    case Element::int64: return H5T_STD_I64LE;
    case Element::float16: return float16;
    case Element::bfloat16: return bfloat16;
    case Element::float32: return H5T_IEEE_F32LE;
    case Element::float64: return H5T_IEEE_F64LE;
  }
  throw Error("unknown element type");
}

size_t element_bytes(Element element) {
  switch (element) {
    case Element::uint8:
    case Element::int8: return 1;
    case Element::uint16:
    case Element::float16:
    case Element::bfloat16: return 2;
    case Element::uint32:
    case Element::int32:
    case Element::float32: return 4;
    case Element::int64:
    case Element::float64: return 8;
  }
  throw Error("unknown element type");
}

const char* element_name(Element element) {
  switch (element) {
    case Element::uint8: return "uint8";
    case Element::int8: return "int8";
    case Element::uint16: return "uint16";
    case Element::uint32: return "uint32";
    case Element::int32: return "int32";
    case Element::int64: return "int64";
    case Element::float16: return "float16";
    case Element::bfloat16: return "bfloat16";
    case Element::float32: return "float32";
    case Element::float64: return "float64";
  }
  throw Error("unknown element type");
}

std::optional<Element> element_named(const std::string& name) {
  for (const Element element : all_elements) {
    if (name == element_name(element)) return element;
  }
  return std::nullopt;
}

}  // namespace braid::h5
