// SPDX-License-Identifier: Apache-2.0
#include "text/utf8.h"

#include <gtest/gtest.h>

namespace braid {
namespace {

struct Repair {
  std::string broken, repaired;
};

// The Unicode Standard 15.0, section 3.9: tables 3-8 to 3-11.
const Repair repairs[] = {
    {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA"},
    {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA"},
    {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA\uFFFD\uFFFDB"},
    {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "\uFFFD\uFFFD\uFFFD\uFFFDA"},
};

TEST(Utf8, EachMaximalSubpartBecomesOneReplacement) {
  for (const auto& [broken, repaired] : repairs) {
    EXPECT_FALSE(is_valid_utf8(broken));
    EXPECT_EQ(repair_utf8(broken), repaired);
  }
}

TEST(Utf8, PieceByPieceIsRepairedTheSame) {
  for (const auto& [broken, repaired] : repairs) {
    std::string out, pending;
    for (const char byte : broken) {
      pending.push_back(byte);
      pending.erase(0, append_repaired(out, pending, false));
      EXPECT_TRUE(is_valid_utf8(out));
    }
    append_repaired(out, pending, true);
    EXPECT_EQ(out, repaired);
  }
}

TEST(Utf8, EveryCodePointComesBack) {
  for (char32_t point = 0; point <= 0x10FFFF; ++point) {
    std::string text;
    append_code_point(text, point);
    if (point >= 0xD800 && point <= 0xDFFF) {
      ASSERT_FALSE(is_valid_utf8(text)) << static_cast<uint32_t>(point);
      continue;
    }
    ASSERT_TRUE(is_valid_utf8(text)) << static_cast<uint32_t>(point);
    size_t at = 0;
    ASSERT_TRUE(next_code_point(text, at) == point);
    ASSERT_EQ(at, text.size());
    ASSERT_EQ(last_code_point_at("a" + text), 1u);
    ASSERT_EQ(code_point_bytes(static_cast<unsigned char>(text[0])), text.size());
  }
}

}  // namespace
}  // namespace braid
