// SPDX-License-Identifier: Apache-2.0
// The HDF5 layer: contiguous payloads at a file offset, attributes, user blocks, and errors that say what HDF5 said.
#include "store/h5.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <memory>
#include <numeric>
#include <thread>

#include "base/error.h"
#include "temp_folder.h"

namespace braid::h5 {
namespace {

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

void write_at(const std::string& path, int64_t offset, const void* data, size_t bytes) {
  const int descriptor = open(path.c_str(), O_WRONLY);
  ASSERT_GE(descriptor, 0);
  EXPECT_EQ(pwrite(descriptor, data, bytes, offset), static_cast<ssize_t>(bytes));
  close(descriptor);
}

class Payload : public testing::TestWithParam<int64_t> {};

TEST_P(Payload, WrittenAtTheOffsetOfAContiguousDatasetIsWhatHdf5Reads) {
  const TempFolder folder;
  std::vector<uint16_t> tokens(5000);
  std::iota(tokens.begin(), tokens.end(), uint16_t{60000});
  int64_t offset = 0;
  {
    File file = File::create(folder / "shard.h5", Exists::refuse, Layout::compatible, GetParam());
    const Dataset dataset = create_contiguous(file, "tokens", Element::uint16, 5000);
    offset = dataset.offset();
    file.close();
  }
  write_at(folder / "shard.h5", offset, tokens.data(), tokens.size() * 2);
  const File file = File::open(folder / "shard.h5");
  const Dataset dataset = Dataset::open(file, "tokens");
  EXPECT_EQ(dataset.element(), Element::uint16);
  EXPECT_EQ(dataset.count(), 5000);
  EXPECT_EQ(dataset_offset(file, "tokens"), offset);
  std::vector<uint16_t> found(5000);
  dataset.read(element_type(Element::uint16), found.data());
  EXPECT_EQ(found, tokens);
}

INSTANTIATE_TEST_SUITE_P(UserBlocks, Payload, testing::Values(0, 512));

TEST(H5Attribute, KeepsIntegersFloatsAndTextsOfAnyLength) {
  const TempFolder folder;
  const std::string big(200'000, 'x');  // beyond the 64 KiB of a compact attribute: needs the latest format
  {
    File file = File::create(folder / "a.h5", Exists::refuse, Layout::swmr);
    set_attribute(file, "count", int64_t{-(int64_t{1} << 62)});
    set_attribute(file, "ratio", 0.1);
    set_attribute(file, "name", std::string("Größe µs"));
    set_attribute(file, "empty", std::string());
    set_attribute(file, "big", big);
  }
  const File file = File::open(folder / "a.h5");
  EXPECT_EQ(int_attribute(file, "count"), -(int64_t{1} << 62));
  EXPECT_EQ(double_attribute(file, "ratio"), 0.1);
  EXPECT_EQ(text_attribute(file, "name"), "Größe µs");
  EXPECT_EQ(text_attribute(file, "empty"), "");
  EXPECT_EQ(text_attribute(file, "big"), big);
  EXPECT_TRUE(has_attribute(file, "count"));
  EXPECT_FALSE(has_attribute(file, "counts"));
}

TEST(H5Attribute, OfAnotherKindOrMissingIsAnErrorNamingFileAndAttribute) {
  const TempFolder folder;
  File file = File::create(folder / "a.h5");
  set_attribute(file, "name", std::string("text"));
  set_attribute(file, "ratio", 0.5);
  EXPECT_EQ(message_of([&] { int_attribute(file, "name"); }),
            folder / "a.h5: attribute name: a number was expected");
  EXPECT_EQ(message_of([&] { int_attribute(file, "ratio"); }),
            folder / "a.h5: attribute ratio: a number was expected");
  EXPECT_EQ(message_of([&] { text_attribute(file, "ratio"); }), folder / "a.h5: attribute ratio: a text was expected");
  EXPECT_NE(message_of([&] { text_attribute(file, "nam"); }).find("a.h5: attribute nam: "), std::string::npos);
}

TEST(H5Error, CarriesTheInnermostMessageAndPrintsNothing) {
  const TempFolder folder;
  std::ofstream(folder / "junk.h5") << std::string(5000, '?');
  testing::internal::CaptureStderr();
  const std::string missing = message_of([&] { File::open(folder / "missing.h5"); });
  const std::string junk = message_of([&] { File::open(folder / "junk.h5"); });
  std::thread([&] { message_of([&] { File::open(folder / "missing.h5"); }); }).join();
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_NE(missing.find("No such file or directory"), std::string::npos) << missing;
  EXPECT_NE(junk.find("junk.h5: file signature not found"), std::string::npos) << junk;
}

TEST(H5Error, ComesForCutOffFilesAndForDatasetsWithoutOneBlock) {
  const TempFolder folder;
  { create_contiguous(*std::make_unique<File>(File::create(folder / "a.h5")), "x", Element::float32, 100'000); }
  EXPECT_EQ(truncate((folder / "a.h5").c_str(), 3000), 0);
  EXPECT_NE(message_of([&] { File::open(folder / "a.h5"); }).find("truncated"), std::string::npos);
  EXPECT_NE(message_of([&] { File::create(folder / "a.h5"); }).find("exists"), std::string::npos);
}

TEST(H5File, OpensForReadingWhileAnotherHandleWritesIt) {
  const TempFolder folder;
  File writer = File::create(folder / "a.h5");
  Dataset dataset = create_contiguous(writer, "x", Element::int64, 1);
  const int64_t value = 42;
  dataset.write(element_type(Element::int64), &value);
  writer.flush();
  {
    const File reader = File::open(folder / "a.h5");
    int64_t found = 0;
    Dataset::open(reader, "x").read(element_type(Element::int64), &found);
    EXPECT_EQ(found, 42);
  }
  dataset.write(element_type(Element::int64), &value);  // closing the reader left the writer's objects open
}

}  // namespace
}  // namespace braid::h5
