// SPDX-License-Identifier: Apache-2.0
#include "data/answer_score.h"

#include <gtest/gtest.h>

namespace braid {
namespace {

const KeyForm form = key_form("alnum", 6);

NeedleSample asking(std::vector<std::string> answers, const std::string& task = "single") {
  NeedleSample sample;
  sample.task = task;
  sample.context = "The sea was calm. A ticket bore XK31PD. The cipher is old. Of the others, one is QW77ER.";
  sample.question = "Which passkey is it?";
  sample.needles.push_back({"the other gate", "QW77ER"});
  for (const std::string& answer : answers) {
    sample.context += " The passkey is " + answer + ".";
    sample.needles.push_back({"the gate", answer});
  }
  sample.answers = std::move(answers);
  return sample;
}

struct Case {
  const char *answer, *key;
  bool strict, contains;
  AnswerKind kind;
};

void PrintTo(const Case& judged, std::ostream* out) { *out << '"' << judged.answer << '"'; }

// The first three are answers on which the public experiment's parser failed.
constexpr Case cases[] = {
    {"HJFN5P\n\nNote: The secret passkey is mentioned in the text.", "HJFN5P", true, true, AnswerKind::right},
    {"WHBK2N입니다.", "WHBK2N", true, true, AnswerKind::right},
    {"The code is CIPHER 2WFOGR", "2WFOGR", false, true, AnswerKind::late},
    {"", "HJFN5P", false, false, AnswerKind::empty},
    {" \n\t ...", "HJFN5P", false, false, AnswerKind::empty},
    {"HJFN5P", "HJFN5P", true, true, AnswerKind::right},
    {"  \"HJFN5P\".", "HJFN5P", true, true, AnswerKind::right},
    {"**HJFN5P**", "HJFN5P", true, true, AnswerKind::right},
    {"HJFN5P, I think", "HJFN5P", true, true, AnswerKind::right},
    {"“HJFN5P”이라고 합니다", "HJFN5P", true, true, AnswerKind::right},
    {"HJFN5P는 비밀입니다", "HJFN5P", true, true, AnswerKind::right},
    {"HJFN5P。", "HJFN5P", true, true, AnswerKind::right},
    {"패스키는 HJFN5P입니다", "HJFN5P", false, true, AnswerKind::late},
    {"HJFN5P열쇠", "HJFN5P", false, true, AnswerKind::late},
    {"HJFN5PX", "HJFN5P", false, true, AnswerKind::late},
    {"hjfn5p", "HJFN5P", false, false, AnswerKind::malformed},
    {"HJFN5", "HJFN5P", false, false, AnswerKind::malformed},
    {"I do not know.", "HJFN5P", false, false, AnswerKind::malformed},
    {"HJFN5Q", "HJFN5P", false, false, AnswerKind::hallucination},
    {"It is AAAAAA", "HJFN5P", false, false, AnswerKind::hallucination},
    {"QW77ER", "HJFN5P", false, false, AnswerKind::other_key},
    {"XK31PD입니다", "HJFN5P", false, false, AnswerKind::distractor},
    {"THE CIPHER IS", "HJFN5P", false, false, AnswerKind::malformed},  // a word of the context in capitals
    {"CIPHER: XK31PD", "HJFN5P", false, false, AnswerKind::distractor},
    {"\xff\xfeHJFN5P", "HJFN5P", true, true, AnswerKind::right},  // broken bytes around it
};

TEST(AnswerScore, SingleAnswersAreJudgedAsWritten) {
  for (const Case& judged : cases) {
    SCOPED_TRACE(testing::PrintToString(judged));
    const NeedleSample sample = asking({judged.key});
    const AnswerScore score = score_answer(judged.answer, sample);
    EXPECT_EQ(score.strict, judged.strict);
    EXPECT_EQ(score.contains, judged.contains);
    EXPECT_EQ(score.recall, judged.contains ? 1 : 0);
    EXPECT_STREQ(name_of(kind_of_answer(judged.answer, sample, form)), name_of(judged.kind));
  }
}

TEST(AnswerScore, CharactersAreComparedPlaceByPlace) {
  const NeedleSample sample = asking({"HJFN5P"});
  EXPECT_DOUBLE_EQ(score_answer("HJFN5P입니다", sample).characters, 1);
  EXPECT_DOUBLE_EQ(score_answer("HJFX5Q", sample).characters, 4.0 / 6);
  EXPECT_DOUBLE_EQ(score_answer("HJF", sample).characters, 0.5);
  EXPECT_DOUBLE_EQ(score_answer("", sample).characters, 0);
  EXPECT_DOUBLE_EQ(score_answer("The passkey is HJFN5P", sample).characters, 0);
}

TEST(AnswerScore, SeveralAnswersCountInAnyOrderUnlessSeveralAreAskedInOne) {
  const NeedleSample values = asking({"AB12CD", "EF34GH", "IJ56KL"}, "multivalue");
  const NeedleSample queries = asking({"AB12CD", "EF34GH", "IJ56KL"}, "multiquery");
  EXPECT_TRUE(score_answer("EF34GH, AB12CD, IJ56KL.", values).strict);
  EXPECT_FALSE(score_answer("EF34GH, AB12CD, IJ56KL.", queries).strict);
  EXPECT_TRUE(score_answer("AB12CD, EF34GH, IJ56KL", queries).strict);
  EXPECT_FALSE(score_answer("AB12CD, AB12CD, EF34GH, IJ56KL", values).strict);
  EXPECT_DOUBLE_EQ(score_answer("AB12CD and IJ56KL", values).recall, 2.0 / 3);
  EXPECT_EQ(kind_of_answer("AB12CD, EF34GH", values, form), AnswerKind::partial);
  EXPECT_EQ(kind_of_answer("AB12CD, ZZ99ZZ", values, form), AnswerKind::hallucination);
  EXPECT_EQ(kind_of_answer("AB12CD, QW77ER", values, form), AnswerKind::other_key);
  EXPECT_EQ(kind_of_answer("They are AB12CD, EF34GH, IJ56KL", values, form), AnswerKind::late);
}

TEST(AnswerScore, TheTallyHasSharesWithWilsonIntervals) {
  const NeedleSample sample = asking({"HJFN5P"});
  AnswerTally tally;
  for (int i = 0; i < 200; ++i) {
    const std::string answer = i < 28 ? "HJFN5P" : i < 74 ? "ZZZZ99" : "no";
    tally.add(score_answer(answer, sample), kind_of_answer(answer, sample, form));
  }
  EXPECT_EQ(tally.strict, 28);
  EXPECT_EQ(tally.count(AnswerKind::hallucination), 46);
  EXPECT_DOUBLE_EQ(tally.share(AnswerKind::hallucination), 0.23);
  // Wilson 1927 by hand for 14 % and 23 % of 200.
  EXPECT_NEAR(tally.strict_interval().low, 0.099, 5e-4);
  EXPECT_NEAR(tally.strict_interval().high, 0.195, 5e-4);
  EXPECT_NEAR(tally.interval(AnswerKind::hallucination).low, 0.177, 5e-4);
  EXPECT_NEAR(tally.interval(AnswerKind::hallucination).high, 0.293, 5e-4);
}

}  // namespace
}  // namespace braid
