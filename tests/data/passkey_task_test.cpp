// SPDX-License-Identifier: Apache-2.0
#include "data/passkey_task.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"

namespace braid {
namespace {

using namespace passkey;

PasskeyTask task(int64_t context, Split split = Split::train, double distractors = 0,
                 std::optional<double> depth = {}) {
  return PasskeyTask({context, 3, split, distractors, depth});
}

// The needle as a search for its marks finds it in the text alone; -1: not once.
int64_t found(const Batch& b) {
  const int64_t context = b.length - question_tokens;
  int64_t at = -1, times = 0;
  for (int64_t t = 0; t + needle_tokens <= context; ++t) {
    if (b.tokens[t] != mark || b.tokens[t + needle_tokens - 1] != end) continue;
    at = t;
    ++times;
  }
  return times == 1 ? at : -1;
}

TEST(Passkey, StandsOnceInItsTextAndIsWhatIsAskedFor) {
  for (const int64_t context : {7, 16, 64, 300}) {
    const PasskeyTask data = task(context, Split::train, 0.03);
    for (int64_t i = 0; i < 50; ++i) {
      const Batch b = gather(data, i, 1);
      const int64_t at = found(b);
      ASSERT_EQ(at, data.needle_start(i));
      EXPECT_EQ(b.tokens[context], query);
      for (int64_t d = 0; d < key_digits; ++d) {
        EXPECT_EQ(b.tokens[at + 1 + d], data.key(i)[d]);
        EXPECT_EQ(b.tokens[context + 1 + d], data.key(i)[d]);
        EXPECT_EQ(b.targets[context + d], data.key(i)[d]);
      }
      EXPECT_EQ(b.targets.back(), end);
    }
  }
}

TEST(Passkey, LossIsOnTheAnswerAlone) {
  const Batch b = gather(task(64), 0, 10);
  EXPECT_EQ(b.target_count, 10 * (key_digits + 1));
}

TEST(Passkey, NeedlesBeginAnywhere) {
  std::set<int64_t> starts;
  const PasskeyTask data = task(16);
  for (int64_t i = 0; i < 400; ++i) starts.insert(data.needle_start(i));
  EXPECT_EQ(starts.size(), 10u);  // 0 to 9
  EXPECT_EQ(task(100, Split::train, 0, 0.0).needle_start(5), 0);
  EXPECT_EQ(task(100, Split::train, 0, 1.0).needle_start(5), 93);
  EXPECT_EQ(task(101, Split::train, 0, 0.5).needle_start(5), 47);
}

TEST(Passkey, AShareOfTheNeedlesIsAtTheEnds) {
  PasskeyShape shape{1000, 3, Split::train, 0, {}};
  const PasskeyTask plain(shape);
  shape.ends = 0.2;
  const PasskeyTask data(shape);
  int64_t first = 0, last = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    const int64_t start = data.needle_start(i);
    first += start == 0;
    last += start == 993;
    if (start > 0 && start < 993) EXPECT_EQ(start, plain.needle_start(i));
    EXPECT_EQ(data.key(i), plain.key(i));
  }
  EXPECT_NEAR(double(first), 100, 30);  // three standard deviations
  EXPECT_NEAR(double(last), 100, 30);
}

TEST(Passkey, NoKeyIsBothTrainedAndHeldOut) {
  std::set<int64_t> trained, all;
  for (int64_t n = 0; n < keys_of(Split::train); ++n) trained.insert(key_number(Split::train, n));
  all = trained;
  for (int64_t n = 0; n < keys_of(Split::held_out); ++n) {
    EXPECT_FALSE(trained.count(key_number(Split::held_out, n)));
    all.insert(key_number(Split::held_out, n));
  }
  EXPECT_EQ(trained.size(), 90000u);
  EXPECT_EQ(all.size(), 100000u);
  EXPECT_EQ(*all.rbegin(), 99999);
}

TEST(Passkey, TheFillerIsTheSameSentencesForEverySeedAndSplit) {
  const auto sentences = [](const Dataset& data) {
    std::set<std::vector<int64_t>> found;
    for (int64_t i = 0; i < 60; ++i) {
      const Batch b = gather(data, i, 1);
      for (int64_t t = 0; t + 8 <= 200; ++t) {
        const std::vector<int64_t> window(b.tokens.begin() + t, b.tokens.begin() + t + 8);
        if (*std::min_element(window.begin(), window.end()) >= first_word) found.insert(window);
      }
    }
    return found;
  };
  const auto a = sentences(task(200)), b = sentences(PasskeyTask({200, 99, Split::held_out, 0, {}}));
  std::set<std::vector<int64_t>> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::inserter(both, both.end()));
  EXPECT_GE(both.size(), 24u);
}

TEST(Passkey, DistractorsAreAboutAsManyDigitsAsAsked) {
  const PasskeyTask data = task(3000, Split::held_out, 0.03);
  const Batch b = gather(data, 0, 20);
  int64_t wrong = 0;
  for (int64_t i = 0; i < 20; ++i) {
    const auto first = b.tokens.begin() + i * b.length;
    wrong += std::count_if(first, first + 3000, [](int64_t id) { return id < digits; }) - key_digits;
  }
  EXPECT_NEAR(double(wrong) / (20 * 3000), 0.03, 0.004);
}

TEST(Passkey, ASampleDependsOnItsIndexAlone) {
  const PasskeyTask data = task(40);
  const Batch many = gather(data, 0, 30), one = gather(data, 17, 1);
  EXPECT_TRUE(std::equal(one.tokens.begin(), one.tokens.end(), many.tokens.begin() + 17 * many.length));
  EXPECT_NE(gather(data, 18, 1).tokens, one.tokens);
  EXPECT_NE(gather(task(40, Split::held_out), 17, 1).tokens, one.tokens);
}

TEST(Passkey, AContextWithoutRoomIsRefused) { EXPECT_THROW(task(6), UsageError); }

PasskeyTask several(PasskeyKind kind, int64_t keys, int64_t context, std::optional<double> depth = {}) {
  return PasskeyTask({context, 3, Split::train, 0, depth, keys, kind});
}

std::vector<int64_t> row_of(const Dataset& data, int64_t index) { return gather(data, index, 1).tokens; }

TEST(Passkey, StatementsOfSeveralKeysStandWhereThePlanSaysAndNeverOverlap) {
  for (const PasskeyKind kind : {PasskeyKind::multikey, PasskeyKind::multivalue, PasskeyKind::vt}) {
    for (const int64_t context : {32, 40, 200}) {
      const PasskeyTask data = several(kind, 4, context);
      for (int64_t i = 0; i < 30; ++i) {
        const std::vector<int64_t> tokens = row_of(data, i);
        int64_t marks_found = 0;
        for (int64_t t = 0; t < context; ++t) marks_found += tokens[t] == (kind == PasskeyKind::vt ? chain : mark);
        const PasskeyPlan plan = data.plan(i);
        EXPECT_EQ(marks_found, std::ssize(plan.needles));
        for (const PasskeyNeedle& needle : plan.needles) {
          ASSERT_LE(needle.start + std::ssize(needle.tokens), context);
          EXPECT_TRUE(std::equal(needle.tokens.begin(), needle.tokens.end(), tokens.begin() + needle.start));
        }
      }
    }
  }
}

TEST(Passkey, ANamedKeyIsTheOneThatIsAskedFor) {
  const PasskeyTask data = several(PasskeyKind::multikey, 4, 64);
  std::set<std::vector<int64_t>> orders;
  for (int64_t i = 0; i < 50; ++i) {
    const std::vector<int64_t> tokens = row_of(data, i);
    const std::vector<int64_t> question(tokens.begin() + 64, tokens.end());
    ASSERT_EQ(question.size(), 7u);
    EXPECT_EQ(question[0], query);
    int64_t asked = 0;
    for (int64_t t = 0; t + 8 <= 64; ++t) {
      if (tokens[t] != mark || tokens[t + 1] != question[1]) continue;
      EXPECT_TRUE(std::equal(question.begin() + 2, question.end(), tokens.begin() + t + 2));
      ++asked;
    }
    EXPECT_EQ(asked, 1);
    const Batch b = gather(data, i, 1);
    EXPECT_EQ(b.target_count, key_digits + 1);
  }
}

TEST(Passkey, AllValuesOfANameAreAnsweredInTheTextsOrder) {
  const PasskeyTask data = several(PasskeyKind::multivalue, 3, 64);
  const Batch b = gather(data, 5, 1);
  std::vector<int64_t> said;
  for (int64_t t = 0; t < 64; ++t) {
    if (b.tokens[t] == mark) said.insert(said.end(), b.tokens.begin() + t + 2, b.tokens.begin() + t + 7);
  }
  EXPECT_EQ(b.tokens[64], ask_all);
  EXPECT_TRUE(std::equal(said.begin(), said.end(), b.targets.end() - 16));
  EXPECT_EQ(b.target_count, 16);
}

TEST(Passkey, AChainLeadsFromTheValueToEveryName) {
  const PasskeyTask data = several(PasskeyKind::vt, 4, 64);
  const Batch b = gather(data, 7, 1);
  std::vector<int64_t> value(b.tokens.begin() + 65, b.tokens.begin() + 70), names;
  for (int64_t t = 0; t + 3 < 64; ++t) {
    if (b.tokens[t] != chain) continue;
    const bool first = b.tokens[t + 2] < digits;
    if (first) EXPECT_TRUE(std::equal(value.begin(), value.end(), b.tokens.begin() + t + 2));
    if (!first) EXPECT_EQ(b.tokens[t + 2], names.back());
    names.push_back(b.tokens[t + 1]);
  }
  ASSERT_EQ(names.size(), 5u);
  EXPECT_TRUE(std::equal(names.begin(), names.end(), b.targets.end() - 6));
}

TEST(Passkey, TheKeyAskedForBeginsAtItsDepth) {
  EXPECT_EQ(several(PasskeyKind::multikey, 4, 100, 0.0).needle_start(3), 0);
  EXPECT_EQ(several(PasskeyKind::multikey, 2, 100, 1.0).needle_start(3), 92);
}

TEST(Passkey, SamplesComeAgainWhereTheyAreLimited) {
  PasskeyShape shape{32, 3, Split::train};
  shape.samples = 5;
  const PasskeyTask data(shape);
  EXPECT_EQ(row_of(data, 2), row_of(data, 7));
  EXPECT_NE(row_of(data, 2), row_of(data, 3));
  EXPECT_EQ(row_of(data, 2), row_of(task(32), 2));
}

TEST(Passkey, AsManyKeysAsFit) {
  EXPECT_EQ(keys_that_fit({16, 0, Split::train, 0, {}, 4, PasskeyKind::multikey}), 2);
  EXPECT_EQ(keys_that_fit({32, 0, Split::train, 0, {}, 4, PasskeyKind::multikey}), 4);
  EXPECT_THROW(several(PasskeyKind::multikey, 4, 31), UsageError);
}

}  // namespace
}  // namespace braid
