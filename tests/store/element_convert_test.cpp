// SPDX-License-Identifier: Apache-2.0
#include "store/element_convert.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/error.h"

namespace braid {
namespace {

using h5::Element;

template <class To, class From>
To converted(Element from, From value, Element to) {
  To result{};
  convert_elements(from, reinterpret_cast<const std::byte*>(&value), to, reinterpret_cast<std::byte*>(&result), 1);
  return result;
}

uint16_t brain(double value) { return converted<uint16_t>(Element::float64, value, Element::bfloat16); }
float from_brain(uint16_t bits) { return converted<float>(Element::bfloat16, bits, Element::float32); }
double from_half(uint16_t bits) { return converted<double>(Element::float16, bits, Element::float64); }

TEST(ElementConvert, EveryBfloat16SurvivesTheWayThroughFloatAndDouble) {
  for (int bits = 0; bits < 65536; ++bits) {
    const float value = from_brain(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(from_brain(brain(value))));
      continue;
    }
    ASSERT_EQ(brain(value), bits);
    ASSERT_EQ(converted<uint16_t>(Element::float32, value, Element::bfloat16), bits);
  }
}

// The nearest of the two neighbours by exact arithmetic; the one with an even last bit in the middle.
TEST(ElementConvert, RoundsToTheNearestBfloat16) {
  std::mt19937 random(11);
  std::uniform_int_distribution<int> any(0, 0x7F7E);
  std::uniform_real_distribution<double> share(0, 1);
  for (int trial = 0; trial < 200000; ++trial) {
    const auto low = static_cast<uint16_t>(any(random)), high = static_cast<uint16_t>(low + 1);
    const double below = from_brain(low), above = from_brain(high), middle = (below + above) / 2;
    const double near_middle = std::nextafter(middle, trial % 2 ? below : above);
    const double between = below + share(random) * (above - below);
    const double value = trial % 3 == 0 ? middle : trial % 3 == 1 ? near_middle : between;
    const uint16_t expected = value < middle ? low : value > middle ? high : (low % 2 ? high : low);
    ASSERT_EQ(brain(value), expected) << value;
    ASSERT_EQ(brain(-value), expected | 0x8000) << value;
  }
}

TEST(ElementConvert, LargeValuesBecomeInfiniteAndNanStaysNan) {
  const double largest = from_brain(0x7F7F);
  EXPECT_EQ(brain(largest * 1.001), 0x7F7F);
  EXPECT_EQ(brain(largest * 1.01), 0x7F80);
  EXPECT_EQ(brain(1e300), 0x7F80);
  EXPECT_EQ(brain(-HUGE_VAL), 0xFF80);
  EXPECT_TRUE(std::isnan(from_brain(brain(std::nan("")))));
  const float nan_below = std::bit_cast<float>(0x7F800001u);  // its upper half alone would be infinity
  EXPECT_TRUE(std::isnan(from_brain(converted<uint16_t>(Element::float32, nan_below, Element::bfloat16))));
}

TEST(ElementConvert, HalvesAreWhatIeee754Says) {
  EXPECT_EQ(from_half(0x3C00), 1.0);
  EXPECT_EQ(from_half(0xC000), -2.0);
  EXPECT_EQ(from_half(0x7BFF), 65504.0);
  EXPECT_EQ(from_half(0x0001), std::ldexp(1.0, -24));
  EXPECT_EQ(from_half(0x0400), std::ldexp(1.0, -14));
  EXPECT_EQ(from_half(0x3555), 0.333251953125);
  EXPECT_EQ(from_half(0x7C00), HUGE_VAL);
  EXPECT_TRUE(std::isnan(from_half(0x7E00)));
  EXPECT_TRUE(std::signbit(from_half(0x8000)));
}

TEST(ElementConvert, WholeNumbersAndUnalignedMemory) {
  EXPECT_EQ(converted<double>(Element::int64, int64_t{-5}, Element::float64), -5.0);
  EXPECT_EQ(converted<float>(Element::uint16, uint16_t{65535}, Element::float32), 65535.0f);
  std::vector<std::byte> in(1 + 2 * sizeof(float)), out(1 + 2 * sizeof(double));
  const float values[] = {1.25f, -8};
  std::memcpy(in.data() + 1, values, sizeof values);
  convert_elements(Element::float32, in.data() + 1, Element::float64, out.data() + 1, 2);
  double wide[2];
  std::memcpy(wide, out.data() + 1, sizeof wide);
  EXPECT_EQ(wide[0], 1.25);
  EXPECT_EQ(wide[1], -8);
  EXPECT_THROW(converted<int32_t>(Element::float32, 1.0f, Element::int32), Error);
}

TEST(ElementConvert, WidensOnlyWhereNothingIsLost) {
  EXPECT_TRUE(widens(Element::bfloat16, Element::float32));
  EXPECT_TRUE(widens(Element::float16, Element::float32));
  EXPECT_TRUE(widens(Element::float32, Element::float64));
  EXPECT_TRUE(widens(Element::uint8, Element::bfloat16));
  EXPECT_FALSE(widens(Element::float16, Element::bfloat16));
  EXPECT_FALSE(widens(Element::float32, Element::bfloat16));
  EXPECT_FALSE(widens(Element::float64, Element::float32));
  EXPECT_FALSE(widens(Element::int32, Element::float32));
  EXPECT_FALSE(widens(Element::int64, Element::float64));
}

}  // namespace
}  // namespace braid
