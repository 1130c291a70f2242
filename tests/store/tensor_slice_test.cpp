// SPDX-License-Identifier: Apache-2.0
// Boxes and overlaps of slices against counting every element.
#include "store/tensor_slice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "thrown.h"

namespace braid {
namespace {

class Chance {
 public:
  explicit Chance(uint32_t seed) : engine_(seed) {}
  int64_t operator()(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }

 private:
  std::mt19937 engine_;
};

Extent random_shape(Chance& chance, int64_t dimensions) {
  Extent shape;
  for (int64_t d = 0; d < dimensions; ++d) shape.push_back(chance(1, 6));
  return shape;
}

// A random interval of a random box; empty at times.
TensorSlice random_slice(Chance& chance, const Extent& shape) {
  TensorSlice slice = whole_tensor("w", h5::Element::float32, shape);
  for (size_t d = 0; d < shape.size(); ++d) {
    slice.box.origin[d] = chance(0, shape[d] - 1);
    slice.box.extent[d] = chance(1, shape[d] - slice.box.origin[d]);
  }
  slice.first = chance(0, elements_of(slice.box.extent));
  slice.count = chance(0, elements_of(slice.box.extent) - slice.first);
  return slice;
}

// The global row-major numbers of a box's elements, in their order.
std::vector<int64_t> numbers_of(const TensorBox& box, const Extent& shape) {
  std::vector<int64_t> numbers = {0};
  for (size_t d = 0; d < shape.size(); ++d) {
    std::vector<int64_t> deeper;
    for (const int64_t number : numbers) {
      for (int64_t i = 0; i < box.extent[d]; ++i) deeper.push_back(number * shape[d] + box.origin[d] + i);
    }
    numbers = std::move(deeper);
  }
  return numbers;
}

std::vector<int64_t> numbers_of(const TensorSlice& slice) {
  const std::vector<int64_t> all = numbers_of(slice.box, slice.shape);
  return {all.begin() + slice.first, all.begin() + slice.first + slice.count};
}

std::string text_of(const TensorSlice& s) {
  return str("[", extent_text(s.shape), "] box ", extent_text(s.box.origin), " + ", extent_text(s.box.extent), ", ",
             s.count, " from ", s.first);
}

class Slices : public testing::TestWithParam<int64_t> {};

TEST_P(Slices, BoxesHoldTheElementsInTheirOrder) {
  Chance chance(static_cast<uint32_t>(GetParam()));
  for (int i = 0; i < 400; ++i) {
    const TensorSlice slice = random_slice(chance, random_shape(chance, GetParam()));
    const std::vector<TensorBox> boxes = boxes_of(slice);
    std::vector<int64_t> found;
    for (const TensorBox& box : boxes) {
      for (const int64_t number : numbers_of(box, slice.shape)) found.push_back(number);
    }
    EXPECT_EQ(found, numbers_of(slice)) << text_of(slice);
    EXPECT_LE(boxes.size(), static_cast<size_t>(std::max<int64_t>(2 * GetParam() - 1, 1))) << text_of(slice);
  }
}

TEST_P(Slices, OverlapsAreCopiedAndNothingElseIsTouched) {
  Chance chance(100 + static_cast<uint32_t>(GetParam()));
  constexpr int32_t untouched = -1;
  for (int i = 0; i < 400; ++i) {
    const Extent shape = random_shape(chance, GetParam());
    const TensorSlice from = random_slice(chance, shape), to = random_slice(chance, shape);
    const std::vector<int64_t> source_numbers = numbers_of(from), target_numbers = numbers_of(to);
    const std::vector<int32_t> source(source_numbers.begin(), source_numbers.end());
    std::vector<int32_t> target(target_numbers.size(), untouched), expected = target;
    int64_t shared = 0;
    for (size_t at = 0; at < expected.size(); ++at) {
      if (std::find(source_numbers.begin(), source_numbers.end(), target_numbers[at]) == source_numbers.end()) continue;
      expected[at] = static_cast<int32_t>(target_numbers[at]);
      ++shared;
    }
    EXPECT_EQ(overlap_of(from, to), shared) << text_of(from) << " and " << text_of(to);
    EXPECT_EQ(copy_overlap(from, reinterpret_cast<const std::byte*>(source.data()), to,
                           reinterpret_cast<std::byte*>(target.data())),
              shared);
    EXPECT_EQ(target, expected) << text_of(from) << " to " << text_of(to);
  }
}

INSTANTIATE_TEST_SUITE_P(Dimensions, Slices, testing::Values(0, 1, 2, 3, 4));

TEST(WholeTensor, HoldsAllOfIt) {
  const TensorSlice slice = whole_tensor("w", h5::Element::bfloat16, {3, 5});
  EXPECT_EQ(slice.count, 15);
  EXPECT_EQ(slice.bytes(), 30u);
  EXPECT_EQ(boxes_of(slice), std::vector<TensorBox>({{{0, 0}, {3, 5}}}));
  EXPECT_EQ(whole_tensor("one", h5::Element::float64, {}).bytes(), 8u);
}

TEST(ExtentText, ComesBack) {
  for (const Extent& extent :
       {Extent{}, Extent{7}, Extent{128, 512}, Extent{0, 1, std::numeric_limits<int64_t>::max()}}) {
    EXPECT_EQ(parse_extent(extent_text(extent)), extent);
  }
  EXPECT_EQ(extent_text({128, 512}), "128,512");
}

TEST(ExtentText, OfAnotherFormIsRefused) {
  for (const char* text : {"x", ",", "1,", ",1", "1,,2", "-1", "1 ,2", "1.5", "1,2x", "9223372036854775808"}) {
    const std::string message = thrown_message([&] { parse_extent(text); });
    EXPECT_EQ(message, str("expected lengths like 128,512, found '", text, "'"));
  }
}

}  // namespace
}  // namespace braid
