// SPDX-License-Identifier: Apache-2.0
#include "data/passkey_questions.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace braid {
namespace {

using namespace passkey;
using Tokens = std::vector<int64_t>;

QuestionSet set_of(PasskeyKind kind, int64_t keys, double distractors = 0) {
  return passkey_questions({100, 3, Split::held_out, distractors, {}, keys, kind});
}

const PasskeyPlan plan_of(PasskeyKind kind, int64_t keys, int64_t index) {
  return PasskeyTask({100, 3, Split::held_out, 0, {}, keys, kind}).plan(index);
}

Tokens ended(Tokens answer) {
  answer.push_back(end);
  return answer;
}

AnswerKind kind_of(const QuestionSet& set, const Tokens& answer) { return set.judge(set.question(0), answer).kind; }

TEST(PasskeyQuestions, ASearchOfTheRawTextFindsEveryAnswer) {
  for (const PasskeyKind kind : {PasskeyKind::multikey, PasskeyKind::multivalue, PasskeyKind::vt}) {
    for (const int64_t keys : {1, 2, 4}) {
      const QuestionSet set = set_of(kind, keys, 0.03);
      for (int64_t i = 0; i < 40; ++i) {
        const Question question = set.question(i);
        EXPECT_TRUE(set.judge(question, set.search(question)).score.strict) << name_of(kind) << " " << keys << " " << i;
      }
    }
  }
}

TEST(PasskeyQuestions, SayWhereTheStatementsAre) {
  const QuestionSet set = set_of(PasskeyKind::multivalue, 3);
  const Question question = set.question(4);
  ASSERT_EQ(question.asked.size(), 3u);
  for (const TokenSpan& span : question.asked) {
    EXPECT_EQ(question.context[span.begin], mark);
    EXPECT_EQ(question.context[span.end - 1], end);
  }
  EXPECT_EQ(set_of(PasskeyKind::multikey, 4).question(4).asked.size(), 1u);
}

TEST(PasskeyQuestions, WrongAnswersAreClassed) {
  const QuestionSet set = set_of(PasskeyKind::multikey, 4);
  const PasskeyPlan plan = plan_of(PasskeyKind::multikey, 4, 0);
  const Tokens other(plan.needles[1].tokens.begin() + 2, plan.needles[1].tokens.end() - 1);
  Tokens nowhere = plan.answer;
  nowhere[2] = (nowhere[2] + 1) % 10;
  Tokens late = nowhere;
  late.insert(late.end(), plan.answer.begin(), plan.answer.end());
  EXPECT_EQ(kind_of(set, ended(plan.answer)), AnswerKind::right);
  EXPECT_EQ(kind_of(set, plan.answer), AnswerKind::late);  // does not end
  EXPECT_EQ(kind_of(set, ended(late)), AnswerKind::late);
  EXPECT_EQ(kind_of(set, ended(other)), AnswerKind::other_key);
  EXPECT_EQ(kind_of(set, ended(nowhere)), AnswerKind::hallucination);
  EXPECT_EQ(kind_of(set, {end}), AnswerKind::empty);
  EXPECT_EQ(kind_of(set, {}), AnswerKind::empty);
  EXPECT_EQ(kind_of(set, ended({1, 2, 3})), AnswerKind::malformed);
  EXPECT_EQ(kind_of(set, ended({mark, 40, 41})), AnswerKind::malformed);
}

TEST(PasskeyQuestions, AFalseKeyOfTheTextIsADistractor) {
  const QuestionSet set = set_of(PasskeyKind::multikey, 1);
  Question question = set.question(0);
  const Tokens false_key = {9, 9, 9, 9, 9};
  std::copy(false_key.begin(), false_key.end(), question.context.begin());
  EXPECT_EQ(set.judge(question, ended(false_key)).kind, AnswerKind::distractor);
}

TEST(PasskeyQuestions, SeveralValuesAreRightInAnyOrderAndPartialWhereSomeAreMissing) {
  const QuestionSet set = set_of(PasskeyKind::multivalue, 2);
  const Tokens right = plan_of(PasskeyKind::multivalue, 2, 0).answer;
  Tokens turned(right.begin() + 5, right.end());
  turned.insert(turned.end(), right.begin(), right.begin() + 5);
  EXPECT_EQ(kind_of(set, ended(turned)), AnswerKind::right);
  const JudgedAnswer half = set.judge(set.question(0), ended({right.begin(), right.begin() + 5}));
  EXPECT_EQ(half.kind, AnswerKind::partial);
  EXPECT_EQ(half.score.recall, 0.5);
  EXPECT_FALSE(half.score.contains);
}

TEST(PasskeyQuestions, AnswersAreWrittenAsTheyWereDecoded) {
  EXPECT_EQ(passkey_text({4, 8, 2, 1, 3, end}), "48213 END");
  EXPECT_EQ(passkey_text({4, 8, 2, 1, 3, 1, 0, 5, 7, 7, end}), "48213 10577 END");
  EXPECT_EQ(passkey_text({first_word + 17, query, end}), "w17 <12> END");
}

}  // namespace
}  // namespace braid
