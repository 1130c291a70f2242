// SPDX-License-Identifier: Apache-2.0
// The digest against the vectors of RFC 3720 §B.4 and of the CRC catalogue, in both implementations.
#include "store/crc32c.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
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

INSTANTIATE_TEST_SUITE_P(Ways, Crc32c, testing::Values(crc32c, crc32c_table, crc32c_hardware));

}  // namespace
}  // namespace braid
