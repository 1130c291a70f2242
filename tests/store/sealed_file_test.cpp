// SPDX-License-Identifier: Apache-2.0
// The seal in front of a checkpoint's files: its bytes are as documented, and every single flipped bit or cut is found.
#include "store/sealed_file.h"

#include <gtest/gtest.h>

#include <cstring>

#include "file_bytes.h"
#include "store/crc32c.h"
#include "temp_folder.h"
#include "thrown.h"

namespace braid {
namespace {

// A file of 512 + `length` bytes with a right seal.
std::string sealed(const TempFolder& folder, size_t length, Seal seal = {}) {
  const std::string path = folder / "sealed";
  std::string content(length, '\0');
  for (size_t i = 0; i < length; ++i) content[i] = static_cast<char>(i * 37 + 11);
  write_bytes(path, std::string(seal_bytes, '\0') + content);
  seal.file_bytes = seal_bytes + static_cast<int64_t>(length);
  seal.crc = crc32c(content.data(), content.size());
  PosixFile file = PosixFile::open_to_change(path);
  write_seal(file, seal);
  return path;
}

template <class Number>
Number number_at(const std::string& bytes, size_t at) {
  Number value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

TEST(Seal, LiesInTheFileAsDocumented) {
  const TempFolder folder;
  const std::string bytes = read_bytes(sealed(folder, 1000));
  EXPECT_EQ(bytes.substr(0, 16), "braid-checkpoint");
  EXPECT_EQ(number_at<uint32_t>(bytes, 16), 1u);
  EXPECT_EQ(number_at<uint32_t>(bytes, 20), 512u);
  EXPECT_EQ(number_at<uint64_t>(bytes, 24), 1512u);
  EXPECT_EQ(number_at<uint32_t>(bytes, 32), crc32c_table(bytes.data() + 512, 1000));
  EXPECT_EQ(bytes.substr(36, 472), std::string(472, '\0'));
  EXPECT_EQ(number_at<uint32_t>(bytes, 508), crc32c_table(bytes.data(), 508));
}

TEST(Seal, OfAWholeFileVerifiesAndSaysWhatWasWritten) {
  const TempFolder folder;
  for (const size_t length : {size_t{0}, size_t{1}, size_t{4096}, size_t{3} << 20}) {  // more than one read
    const Seal seal = verify_sealed_file(sealed(folder, length));
    EXPECT_EQ(seal.version, checkpoint_format_version);
    EXPECT_EQ(seal.file_bytes, seal_bytes + static_cast<int64_t>(length));
  }
}

TEST(Seal, FindsEveryFlippedBit) {
  const TempFolder folder;
  const std::string path = sealed(folder, 64), good = read_bytes(path);
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    write_bytes(path, bad);
    EXPECT_TRUE(contains(thrown_message([&] { verify_sealed_file(path); }), path + ": ")) << "bit " << bit;
  }
}

TEST(Seal, FindsEveryCutAndBytesThatWereAdded) {
  const TempFolder folder;
  const std::string path = sealed(folder, 64), good = read_bytes(path);
  for (size_t length = 0; length < good.size(); ++length) {
    write_bytes(path, good.substr(0, length));
    EXPECT_TRUE(contains(thrown_message([&] { verify_sealed_file(path); }), path + ": ")) << length << " bytes";
  }
  write_bytes(path, good + "x");
  EXPECT_TRUE(contains(thrown_message([&] { verify_sealed_file(path); }), "577 bytes long, 576 were written"));
}

TEST(Seal, OfANewerVersionIsAUsageErrorThatNamesBoth) {
  const TempFolder folder;
  Seal seal;
  seal.version = checkpoint_format_version + 6;
  const std::string path = sealed(folder, 10, seal);
  EXPECT_THROW(verify_sealed_file(path), UsageError);
  EXPECT_EQ(thrown_message([&] { verify_sealed_file(path); }),
            path + ": format_version 7 is newer than this program's 1");
}

TEST(Seal, IsNotFoundInOtherFilesOrWhereThereIsNone) {
  const TempFolder folder;
  write_bytes(folder / "other", std::string(2000, 'x'));
  EXPECT_TRUE(
      contains(thrown_message([&] { verify_sealed_file(folder / "other"); }), "not a checkpoint file of Braid"));
  EXPECT_TRUE(contains(thrown_message([&] { verify_sealed_file(folder / "missing"); }), "No such file or directory"));
}

TEST(DigestOfRange, IsThatOfTheBytes) {
  const TempFolder folder;
  const std::string path = sealed(folder, size_t{5} << 20), bytes = read_bytes(path);
  const PosixFile file = PosixFile::open_to_read(path);
  for (const auto& [first, end] : {std::pair{0, 0}, {7, 8}, {512, 3 << 20}, {1, (5 << 20) + 512}}) {
    EXPECT_EQ(digest_of_range(file, first, end), crc32c(bytes.data() + first, static_cast<size_t>(end - first)));
  }
  EXPECT_TRUE(contains(thrown_message([&] { digest_of_range(file, 0, 6 << 20); }), "bytes too early"));
}

}  // namespace
}  // namespace braid
