// SPDX-License-Identifier: Apache-2.0
#include "store/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "base/error.h"
#include "temp_folder.h"

namespace braid {
namespace {

using h5::Element;

void write_file(const std::string& path, const std::string& header, size_t payload_bytes) {
  std::ofstream file(path, std::ios::binary);
  const uint64_t length = header.size();
  file.write(reinterpret_cast<const char*>(&length), sizeof length);
  file << header << std::string(payload_bytes, '\1');
}

// What the reader says of a file with this header; "" when it takes it.
std::string complaint(const std::string& header, size_t payload_bytes) {
  const TempFolder folder;
  const std::string path = folder / "x.safetensors";
  write_file(path, header, payload_bytes);
  try {
    SafetensorsFile file(path);
    return "";
  } catch (const Error& problem) {
    const std::string what = problem.what();
    EXPECT_TRUE(what.starts_with(path + ": ")) << what;
    EXPECT_EQ(what.find('\n'), std::string::npos);
    return what.substr(path.size() + 2);
  }
}

std::string entry(const std::string& type, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

std::string header_of(const std::string& one) { return R"({"a":)" + one + "}"; }

template <class Number>
const std::byte* bytes_of(const std::vector<Number>& values) {
  return reinterpret_cast<const std::byte*>(values.data());
}

TEST(Safetensors, WhatIsWrittenInPiecesIsReadBack) {
  const TempFolder folder;
  const std::string path = folder / "x.safetensors";
  std::vector<float> floats(24);
  std::iota(floats.begin(), floats.end(), 0.5f);
  const std::vector<uint16_t> halves = {0x3F80, 0xC000, 0x7FC0};
  {
    const std::vector<SafeTensor> tensors = {
        {"w", Element::float32, {4, 6}}, {"empty", Element::float32, {0, 3}}, {"h", Element::bfloat16, {3}}};
    SafetensorsWriter writer(path, tensors, {{"format", "braid"}, {"text", "a \"quoted\"\nline"}});
    for (size_t at = 0; at < 96; at += 32) writer.write(bytes_of(floats) + at, 32);
    writer.write(bytes_of(halves), 6);
    EXPECT_FALSE(std::filesystem::exists(path));
    writer.commit();
  }
  const SafetensorsFile file(path);
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.tensors()[0].name, "w");
  EXPECT_EQ(file.tensors()[0].offset % 8, 0);
  EXPECT_EQ(file.find("w")->shape, (Extent{4, 6}));
  EXPECT_EQ(file.find("h")->element, Element::bfloat16);
  EXPECT_EQ(file.find("none"), nullptr);
  EXPECT_EQ(file.metadata().at("text"), "a \"quoted\"\nline");
  EXPECT_EQ(std::memcmp(file.data(*file.find("w")), floats.data(), 96), 0);
  EXPECT_EQ(std::memcmp(file.data(*file.find("h")), halves.data(), 6), 0);
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));
}

TEST(Safetensors, ASliceIsReadByBoxAndInterval) {
  const TempFolder folder;
  const std::string path = folder / "x.safetensors";
  std::vector<float> floats(24);
  std::iota(floats.begin(), floats.end(), 0.0f);
  SafetensorsWriter writer(path, {{"w", Element::float32, {4, 6}}}, {});
  writer.write(bytes_of(floats), 96);
  writer.commit();
  const SafetensorsFile file(path);
  std::vector<float> part(4, -1);
  file.read({"w", Element::float32, {4, 6}, {{1, 2}, {2, 3}}, 1, 4}, reinterpret_cast<std::byte*>(part.data()));
  EXPECT_EQ(part, (std::vector<float>{9, 10, 14, 15}));
  EXPECT_THROW(file.read(whole_tensor("w", Element::float32, {6, 4}), nullptr), Error);
  EXPECT_THROW(file.read(whole_tensor("w", Element::bfloat16, {4, 6}), nullptr), Error);
  EXPECT_THROW(file.read(whole_tensor("v", Element::float32, {4, 6}), nullptr), Error);
}

TEST(Safetensors, AFileThatIsNotCommittedLeavesNothingAndTheOldOneAlone) {
  const TempFolder folder;
  const std::string path = folder / "x.safetensors";
  write_file(path, "{}", 0);
  {
    SafetensorsWriter writer(path, {{"w", Element::uint8, {4}}}, {});
    writer.write(reinterpret_cast<const std::byte*>("abc"), 3);
    EXPECT_THROW(writer.commit(), Error);
    EXPECT_THROW(writer.write(reinterpret_cast<const std::byte*>("abc"), 3), Error);
  }
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));
  EXPECT_TRUE(SafetensorsFile(path).tensors().empty());
}

TEST(Safetensors, NamesThatAreTakenAreRefusedByTheWriter) {
  const TempFolder folder;
  const SafeTensor a{"a", Element::uint8, {1}}, metadata{"__metadata__", Element::uint8, {1}};
  EXPECT_THROW(SafetensorsWriter(folder / "x", {a, a}, {}), UsageError);
  EXPECT_THROW(SafetensorsWriter(folder / "x", {metadata}, {}), UsageError);
  EXPECT_FALSE(std::filesystem::exists(folder / "x.new"));
}

TEST(Safetensors, EveryTypeOfTheFormatThatBraidKnowsIsRead) {
  const std::map<std::string, int> types = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4},
                                            {"I8", 1},  {"U32", 4}, {"U16", 2}, {"U8", 1},   {"BOOL", 1}};
  for (const auto& [type, bytes] : types) {
    const std::string range = "[0," + std::to_string(2 * bytes) + "]";
    EXPECT_EQ(complaint(header_of(entry(type, "[2]", range)), static_cast<size_t>(2 * bytes)), "") << type;
  }
  EXPECT_EQ(complaint(header_of(entry("F8_E4M3", "[2]", "[0,2]")), 2),
            "tensor a: dtype F8_E4M3 is not one of F64, F32, F16, BF16, I64, I32, I8, U32, U16, U8, BOOL");
}

TEST(Safetensors, AHeaderThatDoesNotFitTheFileIsRefused) {
  const std::string good = entry("U8", "[4]", "[0,4]");
  EXPECT_EQ(complaint(header_of(good), 4), "");
  EXPECT_EQ(complaint(header_of(good), 3),
            "tensor a: data_offsets: end at 4, the file has 3 bytes of elements: it was cut off");
  EXPECT_EQ(complaint(header_of(good), 6), "2 bytes after the last tensor belong to none");
  EXPECT_EQ(complaint(header_of(entry("U8", "[4]", "[4,0]")), 4), "tensor a: data_offsets: expected [begin, end]");
  EXPECT_EQ(complaint(header_of(entry("U8", "[4]", "[0,4,8]")), 4), "tensor a: data_offsets: expected [begin, end]");
  EXPECT_EQ(complaint(header_of(entry("U8", "[5]", "[0,4]")), 4),
            "tensor a: data_offsets: hold 4 bytes, shape and dtype need 5");
  EXPECT_EQ(complaint(header_of(entry("U8", "[2]", "[2,4]")), 4),
            "tensor a: data_offsets: begin at 2, the tensor before ends at 0");
  EXPECT_EQ(complaint(R"({"a":)" + good + R"(,"b":)" + entry("U8", "[2]", "[2,4]") + "}", 4),
            "tensor b: data_offsets: begin at 2, the tensor before ends at 4");
  EXPECT_EQ(complaint(header_of(entry("F64", "[4294967296,4294967296]", "[0,4]")), 4),
            "tensor a: shape: more elements than a file can hold");
}

TEST(Safetensors, AHeaderOfAnotherFormIsRefused) {
  const std::string numbers = "expected a list of whole numbers from 0";
  EXPECT_EQ(complaint(header_of(entry("U8", "[-4]", "[0,4]")), 4), "tensor a: shape: " + numbers);
  EXPECT_EQ(complaint(header_of(entry("U8", "4", "[0,4]")), 4), "tensor a: shape: " + numbers);
  EXPECT_EQ(complaint(header_of(entry("U8", "[4.5]", "[0,4]")), 4), "tensor a: shape: " + numbers);
  EXPECT_EQ(complaint(header_of(entry("U8", "[4]", "null")), 4), "tensor a: data_offsets: " + numbers);
  EXPECT_EQ(complaint(header_of(R"({"dtype":"U8","shape":[4]})"), 4), "tensor a: data_offsets is missing");
  EXPECT_EQ(complaint(header_of("7"), 4), "tensor a: dtype is missing");
  EXPECT_EQ(complaint(R"({"__metadata__":{"a":1}})", 0), "__metadata__: expected texts by name");
  EXPECT_EQ(complaint(R"({"__metadata__":"a"})", 0), "__metadata__: expected texts by name");
  const std::string good = entry("U8", "[4]", "[0,4]");
  EXPECT_EQ(complaint(R"({"a":)" + good + R"(,"a":)" + good + "}", 4), "tensor a: is there twice");
  EXPECT_EQ(complaint(R"({"a":[[[[[1]]]]]})", 4), "the header is nested too deeply");
  EXPECT_TRUE(complaint(R"({"a":)", 4).starts_with("the header is not valid JSON: "));
  EXPECT_TRUE(complaint("[1,2]", 4).starts_with("not a safetensors file"));
}

TEST(Safetensors, AFileThatEndsBeforeItsHeaderIsRefused) {
  const TempFolder folder;
  const std::string path = folder / "x.safetensors";
  for (const std::string& content : {std::string(), std::string("abc"), std::string("no such format at all")}) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
    EXPECT_THROW(SafetensorsFile{path}, Error);
  }
  EXPECT_THROW(SafetensorsFile{folder / "none"}, Error);
}

}  // namespace
}  // namespace braid
