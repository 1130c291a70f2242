// SPDX-License-Identifier: Apache-2.0
// Element types: names come back, sizes are those of HDF5, and 16-bit floats are the numbers that their bits say.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "store/h5.h"
#include "temp_folder.h"

namespace braid::h5 {
namespace {

TEST(Element, HasANameASizeAndATypeThatAgree) {
  for (const Element element : all_elements) {
    EXPECT_EQ(element_named(element_name(element)), element);
    EXPECT_EQ(H5Tget_size(element_type(element)), element_bytes(element)) << element_name(element);
  }
  EXPECT_EQ(element_named("float"), std::nullopt);
  EXPECT_EQ(element_named(""), std::nullopt);
}

TEST(Element, IsRecognisedInAFile) {
  const TempFolder folder;
  {
    File file = File::create(folder / "a.h5");
    for (const Element element : all_elements) create_contiguous(file, element_name(element), element, 3);
  }
  const File file = File::open(folder / "a.h5");
  for (const Element element : all_elements) {
    EXPECT_EQ(Dataset::open(file, element_name(element)).element(), element) << element_name(element);
  }
}

// All 65536 patterns, as HDF5 converts them to float for its readers.
std::vector<float> as_floats(Element element) {
  const TempFolder folder;
  std::vector<uint16_t> bits(1 << 16);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  File file = File::create(folder / "a.h5");
  Dataset dataset = create_contiguous(file, "x", element, static_cast<int64_t>(bits.size()));
  dataset.write(element_type(element), bits.data());
  std::vector<float> found(bits.size());
  dataset.read(H5T_NATIVE_FLOAT, found.data());
  return found;
}

void expect_equal(float found, float expected, size_t bits) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(found)) << bits;
  } else {
    EXPECT_EQ(found, expected) << bits;
  }
}

TEST(Bfloat16, IsTheUpperHalfOfAFloat) {
  const std::vector<float> found = as_floats(Element::bfloat16);
  for (size_t i = 0; i < found.size(); ++i) {
    expect_equal(found[i], std::bit_cast<float>(static_cast<uint32_t>(i) << 16), i);
  }
}

TEST(Float16, HasFiveBitsOfExponent) {
  const std::vector<float> found = as_floats(Element::float16);
  for (size_t i = 0; i < found.size(); ++i) {
    const int exponent = static_cast<int>(i >> 10 & 31);
    const float mantissa = static_cast<float>(i & 1023) / 1024, sign = i >> 15 ? -1.0F : 1.0F;
    float expected = std::ldexp(exponent == 0 ? mantissa : 1 + mantissa, exponent == 0 ? -14 : exponent - 15);
    if (exponent == 31) expected = mantissa == 0 ? INFINITY : NAN;
    expect_equal(found[i], sign * expected, i);
  }
}

}  // namespace
}  // namespace braid::h5
