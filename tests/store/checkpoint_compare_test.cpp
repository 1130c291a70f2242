// SPDX-License-Identifier: Apache-2.0
// Checkpoints of the same and of other tensors, each stored in a layout of its own.
#include "store/checkpoint_compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "checkpoint_layouts.h"
#include "temp_folder.h"

namespace braid {
namespace {

using h5::Element;

bool any_name(const std::string&) { return true; }

CheckpointReader stored(const std::string& folder, const std::vector<KnownTensor>& tensors, uint32_t seed) {
  std::mt19937 chance(seed);
  std::filesystem::create_directories(folder);
  Manifest manifest;
  manifest.shards = write_random_shards(folder, tensors, 1 + seed % 5, chance);
  write_manifest(folder, manifest);
  return {folder, verify_checkpoint(folder)};
}

std::vector<KnownTensor> some_tensors() {
  return {known_tensor("model/a", Element::uint8, {17, 5, 3}, 1), known_tensor("model/b", Element::bfloat16, {40}, 2),
          known_tensor("model/c", Element::float32, {600, 500}, 3), known_tensor("n", Element::int64, {}, 4)};
}

template <class Number>
void put(KnownTensor& tensor, size_t index, Number value) {
  std::memcpy(tensor.bytes.data() + index * sizeof value, &value, sizeof value);
}

TEST(CheckpointCompare, TheLayoutMakesNoDifference) {
  const TempFolder folder;
  const std::vector<KnownTensor> tensors = some_tensors();  // of random bits: NaN among them
  for (uint32_t seed = 0; seed < 12; ++seed) {
    const CheckpointReader a = stored(folder / str("a", seed), tensors, seed);
    const CheckpointReader b = stored(folder / str("b", seed), tensors, seed + 100);
    const TensorComparison all = compare_tensors(a, b, any_name);
    EXPECT_TRUE(all.equal()) << seed;
    EXPECT_EQ(all.compared, 4);
    EXPECT_EQ(all.elements, 17 * 5 * 3 + 40 + 600 * 500 + 1);
  }
}

TEST(CheckpointCompare, EachElementThatDiffersIsFound) {
  const TempFolder folder;
  std::vector<KnownTensor> tensors = some_tensors();
  KnownTensor& c = tensors[2];
  for (size_t i = 0; i < 300'000; ++i) put(c, i, float(i));
  const CheckpointReader a = stored(folder / "a", tensors, 1);
  put(c, 0, 0.25f);
  put(c, 262'143, 262'143.5f);  // on both sides of a border between pieces
  put(c, 262'144, 262'140.0f);
  put(c, 299'999, std::numeric_limits<float>::infinity());
  tensors[0].bytes[7] ^= std::byte{1};
  const TensorComparison all = compare_tensors(a, stored(folder / "b", tensors, 3), any_name);
  ASSERT_EQ(all.different.size(), 2u);
  EXPECT_EQ(all.different[0].a.name, "model/a");
  EXPECT_EQ(all.different[0].differing, 1);
  EXPECT_EQ(all.different[0].absolute, 1);
  const TensorDifference& found = all.different[1];
  EXPECT_EQ(found.differing, 4);
  EXPECT_EQ(found.not_finite, 1);
  EXPECT_EQ(found.absolute, 4);
  EXPECT_EQ(found.relative, 1);  // of 0 and 0.25
}

TEST(CheckpointCompare, ZerosOfTwoSignsAreTwoValuesInBitsAndNoneApart) {
  const TempFolder folder;
  KnownTensor a = known_tensor("x", Element::float32, {2}, 1), b = a;
  put(a, 0, 0.0f), put(a, 1, 1.0f);
  put(b, 0, -0.0f), put(b, 1, 1.0f);
  const TensorComparison all = compare_tensors(stored(folder / "a", {a}, 0), stored(folder / "b", {b}, 0), any_name);
  ASSERT_EQ(all.different.size(), 1u);
  EXPECT_EQ(all.different[0].differing, 1);
  EXPECT_EQ(all.different[0].absolute, 0);
  EXPECT_EQ(all.different[0].relative, 0);
}

TEST(CheckpointCompare, OfTwoTypesValuesAreCompared) {
  const TempFolder folder;
  KnownTensor narrow = known_tensor("x", Element::bfloat16, {3}, 1), wide = known_tensor("x", Element::float32, {3}, 1);
  for (size_t i = 0; i < 3; ++i) put(narrow, i, uint16_t{0x3F80}), put(wide, i, 1.0f);
  const CheckpointReader a = stored(folder / "a", {narrow}, 0);
  const TensorComparison same = compare_tensors(a, stored(folder / "b", {wide}, 0), any_name);
  EXPECT_FALSE(same.equal());  // the type
  EXPECT_EQ(same.different.at(0).differing, 0);
  put(wide, 2, 1.5f);
  EXPECT_EQ(compare_tensors(a, stored(folder / "c", {wide}, 0), any_name).different.at(0).differing, 1);
}

TEST(CheckpointCompare, TensorsOfOneSideOrOfAnotherShapeAreNamedAndOthersLeftOut) {
  const TempFolder folder;
  std::vector<KnownTensor> one = some_tensors(), two = some_tensors();
  one.pop_back();
  two.erase(two.begin());
  two[0] = known_tensor("model/b", Element::bfloat16, {20, 2}, 2);
  const CheckpointReader a = stored(folder / "a", one, 1), b = stored(folder / "b", two, 2);
  const TensorComparison all = compare_tensors(a, b, any_name);
  EXPECT_EQ(all.only_in_a, std::vector<std::string>{"model/a"});
  EXPECT_EQ(all.only_in_b, std::vector<std::string>{"n"});
  ASSERT_EQ(all.different.size(), 1u);
  EXPECT_EQ(all.different[0].differing, 40);
  EXPECT_TRUE(compare_tensors(a, b, [](const std::string& name) { return name == "model/c"; }).equal());
}

TEST(CheckpointCompare, StateDiffersByValueTypeOrPresenceButNotByWallTime) {
  const double none = std::nan("");
  const CheckpointState a = {{"step", int64_t{3}}, {"loss", 0.5}, {"list", std::vector<double>{1, 2, none}},
                             {"mean", none},       {"elapsed_seconds", 1.0}};
  CheckpointState b = a;
  b["elapsed_seconds"] = 2.0;
  EXPECT_TRUE(differing_state(a, b).empty());
  b["list"] = std::vector<double>{1, 3, none};
  b["mean"] = 0.0;
  b["step"] = 3.0;
  b["more"] = int64_t{1};
  b.erase("loss");
  EXPECT_EQ(differing_state(a, b), (std::vector<std::string>{"list", "loss", "mean", "step", "more"}));
}

}  // namespace
}  // namespace braid
