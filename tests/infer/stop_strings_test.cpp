// SPDX-License-Identifier: Apache-2.0
#include "infer/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

#include "../store/thrown.h"

namespace braid {
namespace {

struct Outcome {
  std::string text, matched;
  bool operator==(const Outcome&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Outcome& o) { return out << o.text << " | " << o.matched; }

// What comes out of the text, cut into pieces by `next` (bytes of the next piece).
template <class Next>
Outcome through(const std::vector<std::string>& strings, const std::string& text, const Next& next) {
  StopStrings stops(strings);
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = next();
    out += stops.push(std::string_view(text).substr(at, bytes));
    at += bytes;
  }
  return {out + stops.finish(), stops.matched()};
}

// The first place at which a string is complete, found by looking at every beginning of the text.
Outcome expected(const std::vector<std::string>& strings, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    const std::string so_far = text.substr(0, end);
    std::string longest;
    for (const std::string& string : strings) {
      if (so_far.ends_with(string) && string.size() > longest.size()) longest = string;
    }
    if (!longest.empty()) return {text.substr(0, end - longest.size()), longest};
  }
  return {text, ""};
}

TEST(StopStrings, CutTheSameHoweverTheTextComes) {
  std::mt19937 random(5);
  const auto below = [&](size_t end) { return std::uniform_int_distribution<size_t>(0, end - 1)(random); };
  const auto word = [&](size_t most) {
    std::string text;
    for (size_t i = 1 + below(most); i > 0; --i) text += "ab\n"[below(3)];
    return text;
  };
  for (int n = 0; n < 3000; ++n) {
    std::vector<std::string> strings;
    for (size_t i = below(4); i > 0; --i) strings.push_back(word(5));
    const std::string text = word(20);
    const Outcome wanted = expected(strings, text);
    EXPECT_EQ(through(strings, text, [] { return size_t{1}; }), wanted);
    EXPECT_EQ(through(strings, text, [&] { return text.size(); }), wanted);
    EXPECT_EQ(through(strings, text, [&] { return 1 + below(4); }), wanted);
  }
}

TEST(StopStrings, HoldBackWhatMayBecomeOneAndNothingElse) {
  StopStrings stops({"\nQ:", "###"});
  EXPECT_EQ(stops.push("A: yes\n"), "A: yes");
  EXPECT_EQ(stops.push("No #"), "\nNo ");
  EXPECT_EQ(stops.push("#"), "");
  EXPECT_EQ(stops.push("x\nQ"), "##x");
  EXPECT_FALSE(stops.stopped());
  EXPECT_EQ(stops.push(": more"), "");
  EXPECT_EQ(stops.matched(), "\nQ:");
  EXPECT_EQ(stops.push("further") + stops.finish(), "");
}

TEST(StopStrings, GiveOutWhatTheyHeldAtTheEnd) {
  StopStrings stops({"대한민국"});
  EXPECT_EQ(stops.push("나는 대한"), "나는 ");
  EXPECT_EQ(stops.finish(), "대한");
}

TEST(StopStrings, AreNotEmpty) {
  EXPECT_EQ(thrown_message([] { StopStrings({"a", ""}); }), "expected stop strings of at least one character");
}

}  // namespace
}  // namespace braid
