// SPDX-License-Identifier: Apache-2.0
// The digest against the vectors of RFC 3720 §B.4 and of the CRC catalogue, in both implementations.
#include "store/crc32c.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace braid {
namespace {

using Digest = uint32_t (*)(const void*, size_t, uint32_t);

class Crc32c : public testing::TestWithParam<Digest> {
 protected:
  static uint32_t of(const std::vector<uint8_t>& bytes) { return GetParam()(bytes.data(), bytes.size(), 0); }
};

std::vector<uint8_t> counting(bool upwards) {
  std::vector<uint8_t> bytes(32);
  std::iota(bytes.begin(), bytes.end(), 0);
  if (!upwards) std::reverse(bytes.begin(), bytes.end());
  return bytes;
}

TEST_P(Crc32c, MatchesTheVectorsOfRfc3720) {
  EXPECT_EQ(of(std::vector<uint8_t>(32, 0x00)), 0x8a9136aau);
  EXPECT_EQ(of(std::vector<uint8_t>(32, 0xff)), 0x62a8ab43u);
  EXPECT_EQ(of(counting(true)), 0x46dd794eu);
  EXPECT_EQ(of(counting(false)), 0x113fdb5cu);
  // An iSCSI SCSI Read (10) command.
  std::vector<uint8_t> command(48, 0);
  command[0] = 0x01, command[1] = 0xc0, command[16] = 0x14, command[22] = 0x04, command[27] = 0x14, command[31] = 0x18;
  command[32] = 0x28, command[40] = 0x02;
  EXPECT_EQ(of(command), 0xd9963a56u);
}

TEST_P(Crc32c, MatchesTheCatalogueCheckValueAndTheEmptyInput) {
  EXPECT_EQ(GetParam()("123456789", 9, 0), 0xe3069283u);
  EXPECT_EQ(GetParam()("", 0, 0), 0u);
}

TEST_P(Crc32c, ContinuesOverPiecesOfAnyLengthAndAlignment) {
  std::vector<uint8_t> bytes(301);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 89 + 7);
  const uint32_t whole = crc32c_table(bytes.data(), bytes.size());
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    const uint32_t front = GetParam()(bytes.data(), cut, 0);
    EXPECT_EQ(GetParam()(bytes.data() + cut, bytes.size() - cut, front), whole) << "cut at " << cut;
  }
}

std::vector<uint8_t> random_bytes(size_t count, uint32_t seed) {
  std::mt19937 chance(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(chance());
  return bytes;
}

// Long inputs may be digested in several streams at a time: lengths around powers of two, and odd starts.
TEST_P(Crc32c, OfLongInputsAgreesWithTheTableByteForByte) {
  const std::vector<uint8_t> bytes = random_bytes((size_t{1} << 20) + 77, 1);
  for (const size_t length : {1023, 1024, 1025, 3071, 3072, 3073, 8191, 24'575, 24'576, 24'577, 100'003, 1 << 20}) {
    for (const size_t start : {0, 1, 7, 64}) {
      uint32_t slow = 0;
      for (size_t i = 0; i < length; ++i) slow = crc32c_table(&bytes[start + i], 1, slow);
      EXPECT_EQ(GetParam()(&bytes[start], length, 0), slow) << length << " bytes from " << start;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, Crc32c, testing::Values(crc32c, crc32c_table, crc32c_hardware));

TEST(Crc32cCombine, IsTheDigestOfBothParts) {
  const std::vector<uint8_t> bytes = random_bytes(5000, 2);
  const uint32_t whole = crc32c(bytes.data(), bytes.size());
  for (size_t cut = 0; cut <= bytes.size(); cut += cut < 600 ? 1 : 137) {
    const uint32_t front = crc32c(bytes.data(), cut), back = crc32c(bytes.data() + cut, bytes.size() - cut);
    EXPECT_EQ(crc32c_combine(front, back, bytes.size() - cut), whole) << "cut at " << cut;
  }
}

// Beyond 4 GiB, without the bytes: n zeros after A are n/2 zeros twice.
TEST(Crc32cCombine, TakesLengthsBeyondFourGiB) {
  const std::vector<uint8_t> zeros(1 << 16, 0);
  const uint32_t of_a = crc32c("checkpoint", 10);
  uint32_t of_zeros = crc32c(zeros.data(), zeros.size());
  uint64_t length = zeros.size();
  for (; length < uint64_t{1} << 40; length *= 2) of_zeros = crc32c_combine(of_zeros, of_zeros, length);
  const uint32_t half = crc32c_combine(of_zeros, of_zeros, length);
  EXPECT_EQ(crc32c_combine(of_a, half, 2 * length),
            crc32c_combine(crc32c_combine(of_a, of_zeros, length), of_zeros, length));
  EXPECT_NE(crc32c_combine(of_a, of_zeros, length), crc32c_combine(of_a, of_zeros, length + 1));
}

}  // namespace
}  // namespace braid
