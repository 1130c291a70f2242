// SPDX-License-Identifier: Apache-2.0
#include "store/element_convert.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/error.h"

namespace braid {

using h5::Element;

bool is_float(Element element) {
  return element == Element::float16 || element == Element::bfloat16 || element == Element::float32 ||
         element == Element::float64;
}

bool widens(Element from, Element to) {
  if (from == to) return true;
  const bool byte = from == Element::uint8 || from == Element::int8;
  const bool half = from == Element::float16 || from == Element::bfloat16 || from == Element::uint16;
  if (to == Element::float64) return from != Element::int64;
  return byte || (half && to == Element::float32);
}

namespace {

// 16 bits that are no number by themselves.
struct Half {
  uint16_t bits;
};
struct Brain {
  uint16_t bits;
};

template <class Number>
double to_double(Number value) {
  return static_cast<double>(value);
}

double to_double(Brain value) { return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16); }

double to_double(Half value) {
  const int exponent = value.bits >> 10 & 31, fraction = value.bits & 1023;
  const double sign = value.bits >> 15 ? -1 : 1;
  if (exponent == 31) return fraction ? std::nan("") : sign * HUGE_VAL;
  return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(fraction + 1024, exponent - 25));
}

void from_double(double value, double& out) { out = value; }
void from_double(double value, float& out) { out = static_cast<float>(value); }

// By way of a float, which may round a value up or down to the middle of two: then the value itself decides.
void from_double(double value, Brain& out) {
  const auto near = static_cast<float>(value);
  uint32_t bits = std::bit_cast<uint32_t>(near);
  if (std::isnan(near)) {
    out.bits = static_cast<uint16_t>(bits >> 16 | 0x40);
    return;
  }
  const double distance = std::fabs(value) - std::fabs(static_cast<double>(near));
  if ((bits & 0xFFFF) == 0x8000 && distance != 0) bits += distance > 0 ? 1 : -1;
  out.bits = static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

template <class From, class To>
void convert(const std::byte* in, std::byte* out, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    From source;
    To target;
    std::memcpy(&source, in + i * sizeof source, sizeof source);
    from_double(to_double(source), target);
    std::memcpy(out + i * sizeof target, &target, sizeof target);
  }
}

template <class To>
void convert_to(Element from, const std::byte* in, std::byte* out, size_t count) {
  switch (from) {
    case Element::uint8: return convert<uint8_t, To>(in, out, count);
    case Element::int8: return convert<int8_t, To>(in, out, count);
    case Element::uint16: return convert<uint16_t, To>(in, out, count);
    case Element::uint32: return convert<uint32_t, To>(in, out, count);
    case Element::int32: return convert<int32_t, To>(in, out, count);
    case Element::int64: return convert<int64_t, To>(in, out, count);
    case Element::float16: return convert<Half, To>(in, out, count);
    case Element::bfloat16: return convert<Brain, To>(in, out, count);
    case Element::float32: return convert<float, To>(in, out, count);
    case Element::float64: return convert<double, To>(in, out, count);
  }
}

}  // namespace

void convert_elements(Element from, const std::byte* in, Element to, std::byte* out, size_t count) {
  if (from == to) {
    if (count > 0) std::memcpy(out, in, count * h5::element_bytes(from));
    return;
  }
  switch (to) {
    case Element::bfloat16: return convert_to<Brain>(from, in, out, count);
    case Element::float32: return convert_to<float>(from, in, out, count);
    case Element::float64: return convert_to<double>(from, in, out, count);
    default: throw Error(str("elements cannot be converted to ", h5::element_name(to)));
  }
}

}  // namespace braid
