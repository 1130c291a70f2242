// SPDX-License-Identifier: Apache-2.0
// The 8-bit dynamic maps against their definition in double, and the shortcut to a code against a search through all.
// That they equal bitsandbytes' bit for bit is what parity/test_nf4.py looks at.
#include "kernels/dynamic_map.h"

#include <algorithm>
#include <bit>

#include "support.h"

namespace braid::kernels {
namespace {

test::Numbers defined(bool has_sign) {
  test::Numbers values = {0.0, 1.0};
  for (int i = 0; i < 7; ++i) {
    const int intervals = 1 << (has_sign ? i : i + 1);
    for (int j = 0; j < intervals; ++j) {
      const double value = std::pow(10.0, i - 6) * (0.1 + 0.9 * (j + 0.5) / intervals);
      values.push_back(value);
      if (has_sign) values.push_back(-value);
    }
  }
  std::sort(values.begin(), values.end());
  return values;
}

TEST(DynamicMap, HoldsTheMidpointsOfSevenDecades) {
  for (const bool has_sign : {true, false}) {
    const test::Numbers expected = defined(has_sign);
    const DynamicMap& map = has_sign ? signed_dynamic_map() : unsigned_dynamic_map();
    ASSERT_EQ(map.value.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(map.value[i], expected[i], 2e-7 * std::abs(expected[i])) << i;
  }
}

uint8_t shortcut(const DynamicMap& map, float x) {
  const uint8_t first = map.first_code[std::bit_cast<uint32_t>(x) >> 16];
  return uint8_t(first + (x > map.border[first]));
}

// The nearest, ties to the smaller, over float32 distances.
int nearest(const DynamicMap& map, float x) {
  int best = 0;
  for (int i = 1; i < dynamic_map_size; ++i) {
    if (std::abs(double(map.value[i]) - x) < std::abs(double(map.value[best]) - x)) best = i;
  }
  return best;
}

TEST(DynamicMap, ShortcutFindsTheNearestNumber) {
  test::Random random;
  for (const DynamicMap* map : {&signed_dynamic_map(), &unsigned_dynamic_map()}) {
    for (const double x : random.normal(20000, 0.4)) {
      const float y = std::clamp(float(x * std::pow(10.0, -double(random.below(8)))), map->value[0], 1.0f);
      // A border is rounded to float32: at its very place either neighbour is the nearest.
      const float distance = std::abs(map->value[shortcut(*map, y)] - y), least = std::abs(map->value[nearest(*map, y)] - y);
      EXPECT_LE(distance, least + 0x1p-22f * std::abs(y)) << y;
    }
  }
}

TEST(DynamicMap, ShortcutCountsTheBordersBelowAtEveryBorder) {
  for (const DynamicMap* map : {&signed_dynamic_map(), &unsigned_dynamic_map()}) {
    for (int i = 0; i + 1 < dynamic_map_size; ++i) {
      const float border = map->border[i];
      EXPECT_EQ(shortcut(*map, border), i);
      EXPECT_EQ(shortcut(*map, std::nextafter(border, -2.0f)), i);
      EXPECT_EQ(shortcut(*map, std::nextafter(border, 2.0f)), i + 1);
      EXPECT_EQ(shortcut(*map, map->value[i]), i);
    }
    EXPECT_EQ(shortcut(*map, 1.0f), 255);
  }
}

}  // namespace
}  // namespace braid::kernels
