// SPDX-License-Identifier: Apache-2.0
#include "kernels/dynamic_map.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace braid::kernels {

namespace {

// Point i of `points` between 0.1 and 1, counted from the nearer end.
float spaced(int i, int points) {
  const float first = 0.1f, last = 1.0f, step = (last - first) / float(points - 1);
  return i < points / 2 ? std::fma(step, float(i), first) : std::fma(-step, float(points - 1 - i), last);
}

std::array<float, dynamic_map_size> values_of(bool has_sign) {
  constexpr float decades[] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
  std::array<float, dynamic_map_size> values{0.0f, 1.0f};
  size_t count = 2;
  for (int i = 0; i < 7; ++i) {
    const int intervals = has_sign ? 1 << i : 2 << i;
    for (int j = 0; j < intervals; ++j) {
      const float midpoint = (spaced(j, intervals + 1) + spaced(j + 1, intervals + 1)) / 2.0f;
      values[count++] = decades[i] * midpoint;
      if (has_sign) values[count++] = -decades[i] * midpoint;
    }
  }
  std::sort(values.begin(), values.end());
  return values;
}

// The smallest float32 whose upper half is `upper`; infinities and NaN as they come.
float smallest_of(uint32_t upper) {
  const bool negative = upper & 0x8000u;
  return std::bit_cast<float>(upper << 16 | (negative ? 0xffffu : 0u));
}

DynamicMap make_map(bool has_sign) {
  DynamicMap map{values_of(has_sign), {}, std::vector<uint8_t>(65536)};
  for (size_t i = 0; i + 1 < map.value.size(); ++i) map.border[i] = (map.value[i] + map.value[i + 1]) / 2.0f;
  map.border.back() = std::numeric_limits<float>::infinity();
  const auto end = map.border.end() - 1;
  for (uint32_t upper = 0; upper < 65536; ++upper) {
    const float x = smallest_of(upper);
    const auto code = std::isnan(x) ? 0 : std::lower_bound(map.border.begin(), end, x) - map.border.begin();
    map.first_code[upper] = uint8_t(code);
  }
  return map;
}

}  // namespace

MapTables tables_of(const DynamicMap& map) {
  return {map.value.data(), map.border.data(), map.first_code.data()};
}

const DynamicMap& signed_dynamic_map() {
  static const DynamicMap map = make_map(true);
  return map;
}

const DynamicMap& unsigned_dynamic_map() {
  static const DynamicMap map = make_map(false);
  return map;
}

}  // namespace braid::kernels
