// SPDX-License-Identifier: Apache-2.0
#include "models/hf_files.h"

#include <gtest/gtest.h>

#include "../store/file_bytes.h"
#include "../store/temp_folder.h"
#include "../store/thrown.h"
#include "folder.h"
#include "store/crc32c.h"

namespace braid {
namespace {

using test::FileTensor;
using test::small_llama;
using test::write_weights;

// Two shards and their index; a test changes one thing.
class Shards : public testing::Test {
 protected:
  void SetUp() override {
    const std::vector<FileTensor> all = test::random_tensors(small_llama(), h5::Element::bfloat16);
    const auto middle = all.begin() + 7;
    first.assign(all.begin(), middle);
    second.assign(middle, all.end());
    for (const FileTensor& t : first) map += entry(t, "a.safetensors");
    for (const FileTensor& t : second) map += entry(t, "b.safetensors");
  }
  static std::string entry(const FileTensor& tensor, const std::string& file) {
    return "\"" + tensor.header.name + "\":\"" + file + "\",";
  }
  std::string index() const { return "{\"weight_map\":{" + map.substr(0, map.size() - 1) + "}}"; }
  // What opening and checking the folder says.
  std::string outcome() {
    write_weights(folder / "a.safetensors", first);
    write_weights(folder / "b.safetensors", second);
    write_bytes(folder / "model.safetensors.index.json", index());
    return thrown_message([&] { check_hf_tensors(HfFiles(folder.path()), small_llama()); });
  }

  TempFolder folder;
  std::vector<FileTensor> first, second;
  std::string map;
};

TEST_F(Shards, AreOneSetOfTensors) {
  EXPECT_EQ(outcome(), "nothing was thrown");
  const HfFiles files(folder.path());
  EXPECT_EQ(files.tensors().size(), hf_layout(small_llama()).size());
  EXPECT_EQ(files.paths().size(), 3u);
  const HfFiles::Found& norm = files.at("model.norm.weight");
  EXPECT_EQ(std::memcmp(norm.data(), test::named(second, "model.norm.weight").bytes.data(), norm.tensor->bytes()), 0);
}

TEST_F(Shards, ATensorInTwoOfThemIsNamed) {
  second.push_back(first[2]);
  EXPECT_TRUE(contains(outcome(), "b.safetensors: tensor " + first[2].header.name + ": expected in one file"));
}

TEST_F(Shards, ATensorThatTheIndexListsAndNoneHasIsNamed) {
  second.pop_back();
  EXPECT_TRUE(contains(outcome(), "b.safetensors: tensor lm_head.weight: expected, as the index says, found none"));
}

TEST_F(Shards, ATensorThatTheIndexDoesNotListIsNamed) {
  second.push_back(test::tensor_of("stray", h5::Element::float32, {1}, {1}));
  EXPECT_TRUE(contains(outcome(), "b.safetensors: tensor stray: is not in the index"));
}

TEST_F(Shards, AMissingFileIsNamed) {
  map += "\"more\":\"c.safetensors\",";
  EXPECT_TRUE(contains(outcome(), "c.safetensors: no such file, but the index lists it"));
}

TEST_F(Shards, AnIndexThatLeadsOutOfTheFolderIsRefused) {
  map += "\"more\":\"../c.safetensors\",";
  EXPECT_TRUE(
      contains(outcome(), "weight_map.more: expected the name of a safetensors file in the folder, found \"../c"));
}

TEST_F(Shards, TheDigestIsThatOfAllFilesInARow) {
  outcome();
  const HfFiles files(folder.path());
  std::string all;
  for (const std::string& path : files.paths()) all += read_bytes(path);
  EXPECT_EQ(files.digest(), crc32c(all.data(), all.size()));
}

class OneFile : public testing::Test {
 protected:
  std::string outcome(const ModelConfig& config) {
    write_weights(folder / "model.safetensors", tensors);
    return thrown_message([&] { check_hf_tensors(HfFiles(folder.path()), config); });
  }
  TempFolder folder;
  std::vector<FileTensor> tensors = test::random_tensors(small_llama(), h5::Element::float32);
};

TEST_F(OneFile, AMissingTensorIsNamed) {
  tensors.erase(tensors.begin() + 3);
  EXPECT_TRUE(contains(outcome(small_llama()),
                       "model.safetensors: tensor model.layers.0.self_attn.q_proj.weight: expected, found none"));
}

TEST_F(OneFile, AnotherShapeIsNamedWithBoth) {
  ModelConfig wider = small_llama();
  wider.mlp_width = 12;
  EXPECT_TRUE(contains(outcome(wider),
                       "mlp.gate_proj.weight: expected F32, BF16, F16 or F64 of shape [12,12], found float32 [10,12]"));
}

TEST_F(OneFile, AnotherTypeIsNamed) {
  test::named(tensors, "model.norm.weight").header.element = h5::Element::int32;
  EXPECT_TRUE(contains(outcome(small_llama()),
                       "tensor model.norm.weight: expected F32, BF16, F16 or F64 of shape [12], found int32 [12]"));
}

TEST_F(OneFile, ATensorThatALlamaHasNotIsNamed) {
  tensors.push_back(test::tensor_of("model.layers.0.self_attn.q_proj.bias", h5::Element::float32, {1}, {1}));
  EXPECT_TRUE(
      contains(outcome(small_llama()), "q_proj.bias: expected none of that name in a Llama, found float32 [1]"));
}

TEST_F(OneFile, OldFilesOfRotaryFrequenciesAreLetBe) {
  tensors.push_back(test::tensor_of("model.layers.0.self_attn.rotary_emb.inv_freq", h5::Element::float32, {1}, {1}));
  EXPECT_EQ(outcome(small_llama()), "nothing was thrown");
}

TEST_F(OneFile, ATiedHeadMayBeThereOnceMoreButNotDiffer) {
  FileTensor& head = test::named(tensors, "lm_head.weight");
  head.bytes = test::named(tensors, "model.embed_tokens.weight").bytes;
  EXPECT_EQ(outcome(small_llama(true)), "nothing was thrown");
  head.bytes[0] ^= std::byte{1};
  EXPECT_TRUE(contains(outcome(small_llama(true)),
                       "tensor lm_head.weight: expected the elements of model.embed_tokens.weight"));
}

TEST(HfFiles, AFolderWithoutWeightsSaysWhatIsExpected) {
  TempFolder folder;
  const auto message = [&] { return thrown_message([&] { HfFiles files(folder.path()); }); };
  EXPECT_TRUE(contains(message(), "expected model.safetensors or model.safetensors.index.json, found neither"));
  write_bytes(folder / "pytorch_model.bin", "x");
  EXPECT_TRUE(contains(message(), "found pytorch_model.bin: save it with safe_serialization"));
}

TEST(FirstNotFinite, FindsTheElementInEveryType) {
  for (const h5::Element element : {h5::Element::bfloat16, h5::Element::float32, h5::Element::float64}) {
    std::vector<double> values(9000, -3.0e38);  // near the largest that bfloat16 and float32 have
    std::vector<std::byte> bytes(values.size() * h5::element_bytes(element) + 1);
    const auto found = [&] {
      convert_elements(h5::Element::float64, reinterpret_cast<const std::byte*>(values.data()), element,
                       bytes.data() + 1, values.size());
      return first_not_finite(element, bytes.data() + 1, static_cast<int64_t>(values.size()));  // not aligned
    };
    EXPECT_EQ(found(), -1);
    values[8123] = -std::numeric_limits<double>::infinity();
    EXPECT_EQ(found(), 8123);
    values[4099] = std::numeric_limits<double>::quiet_NaN();
    EXPECT_EQ(found(), 4099);
  }
  const uint16_t halves[] = {0x7BFF, 0xFBFF, 0x0001, 0xFC00};  // the largest two, the smallest, minus infinity
  EXPECT_EQ(first_not_finite(h5::Element::float16, reinterpret_cast<const std::byte*>(halves), 3), -1);
  EXPECT_EQ(first_not_finite(h5::Element::float16, reinterpret_cast<const std::byte*>(halves), 4), 3);
}

}  // namespace
}  // namespace braid
