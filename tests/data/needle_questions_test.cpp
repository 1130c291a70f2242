// SPDX-License-Identifier: Apache-2.0
#include "data/needle_questions.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "data/needle_files.h"
#include "data/needle_mirror.h"

namespace braid {
namespace {

NeedleSpec spec_of(NeedleTask task) {
  NeedleSpec spec;
  spec.task = task;
  spec.seed = 5;
  spec.least_tokens = spec.most_tokens = 900;
  spec.keys = 3;
  return spec;
}

std::vector<int64_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

// FILE.jsonl and FILE.h5 of the same samples, gone when the test is.
class Files {
 public:
  Files(NeedleTask task, const std::string& language) {
    const NeedleTokens tokens;
    NeedleMirror mirror;
    std::ofstream lines(path("jsonl"));
    for (int64_t i = 0; i < 4; ++i) {
      const TokenisedNeedles made =
          make_needle_sample(spec_of(task), own_needle_texts(language), tokens, NeedleSplit::test, i);
      lines << json_line(made.sample) << "\n";
      mirror.add(made.sample, made.tokens, tokens);
    }
    mirror.write(path("h5"), own_needle_texts(language));
  }
  ~Files() {
    std::filesystem::remove(path("jsonl"));
    std::filesystem::remove(path("h5"));
  }
  std::string path(const std::string& ending) const {
    return (std::filesystem::temp_directory_path() / ("braid-questions-" + std::to_string(getpid()) + "." + ending)).string();
  }
};

TEST(NeedleQuestions, OfAFileAndOfItsMirrorAreTheSame) {
  for (const NeedleTask task : {NeedleTask::single, NeedleTask::multikey, NeedleTask::multivalue, NeedleTask::vt}) {
    for (const char* language : {"en", "ko"}) {
      const Files files(task, language);
      const QuestionSet lines = needle_questions(files.path("jsonl"), {}, {}),
                        arrays = needle_questions(files.path("h5"), {}, {});
      ASSERT_EQ(lines.size, 4);
      ASSERT_EQ(arrays.size, 4);
      for (int64_t i = 0; i < 4; ++i) {
        const Question a = lines.question(i), b = arrays.question(i);
        EXPECT_EQ(a.context, b.context);
        EXPECT_EQ(a.question, b.question);
        ASSERT_EQ(a.asked.size(), b.asked.size());
        for (size_t n = 0; n < a.asked.size(); ++n) EXPECT_EQ(a.asked[n].begin, b.asked[n].begin);
        EXPECT_EQ(lines.judge(a, {}).expected, arrays.judge(b, {}).expected);
      }
    }
  }
}

TEST(NeedleQuestions, ASearchOfTheStatementsFindsEveryAnswer) {
  for (const NeedleTask task : {NeedleTask::single, NeedleTask::multikey, NeedleTask::multivalue, NeedleTask::vt}) {
    for (const char* language : {"en", "ko"}) {
      const QuestionSet set = generated_needle_questions(spec_of(task), language, {}, {});
      for (int64_t i = 0; i < 5; ++i) {
        const Question question = set.question(i);
        const JudgedAnswer judged = set.judge(question, set.search(question));
        EXPECT_TRUE(judged.score.strict) << name_of(task) << " " << language << ": " << judged.answer << " for " << judged.expected;
      }
    }
  }
}

TEST(NeedleQuestions, AnAnswerEndsWithItsLine) {
  const QuestionSet set = generated_needle_questions(spec_of(NeedleTask::single), "en", {}, {});
  EXPECT_EQ(set.stop_ids, std::vector<int64_t>{'\n'});
  const Question question = set.question(0);
  const std::string key = set.judge(question, {}).expected;
  EXPECT_EQ(set.judge(question, bytes_of(key + "\n")).kind, AnswerKind::right);
  EXPECT_EQ(set.judge(question, bytes_of("It is " + key + "\n")).kind, AnswerKind::late);
  EXPECT_EQ(set.judge(question, bytes_of("\n" + key)).kind, AnswerKind::empty);
  EXPECT_EQ(set.judge(question, bytes_of("ZZZZ99\n")).kind, AnswerKind::hallucination);
}

TEST(NeedleQuestions, ThePublicExperimentsLinesHaveNoSpans) {
  const Files files(NeedleTask::single, "en");
  std::ofstream(files.path("jsonl")) << R"({"context": "Rain fell. The secret passkey is HJFN5P. It was late.",)"
                                     << R"("question": "What is the secret passkey?", "answer": "HJFN5P"})" << "\n";
  const QuestionSet set = needle_questions(files.path("jsonl"), {}, {});
  const Question question = set.question(0);
  EXPECT_TRUE(question.asked.empty());
  EXPECT_TRUE(set.judge(question, bytes_of("HJFN5P\n")).score.strict);
  EXPECT_TRUE(set.judge(question, set.search(question)).score.strict);
}

TEST(NeedleQuestions, AreAskedAsTheModelWasTrained) {
  const Files files(NeedleTask::single, "en");
  NeedleForm form;
  form.ask = [](const NeedleSample& sample) {
    const NeedleTokens bytes;
    return NeedleForm::Asked{bytes.encode("? " + sample.question), bytes.encode(answer_text(sample))};
  };
  const Question plain = needle_questions(files.path("jsonl"), {}, {}).question(0),
                 formed = needle_questions(files.path("jsonl"), form, {}).question(0);
  EXPECT_EQ(formed.context, plain.context);
  EXPECT_EQ(formed.question.front(), '?');
  EXPECT_EQ(formed.question.size(), plain.question.size());  // two characters before instead of the two line ends
}

TEST(NeedleQuestions, AMirrorOfAnotherTokenizerIsRefused) {
  const Files files(NeedleTask::single, "en");
  const NeedleTokens other = NeedleTokens::from_file(
      (std::filesystem::path(__FILE__).parent_path().parent_path() / "text/data/smol.json").string());
  EXPECT_THROW(needle_questions(files.path("h5"), {other, {}}, {}), UsageError);
}

}  // namespace
}  // namespace braid
