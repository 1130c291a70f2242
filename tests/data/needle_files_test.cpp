// SPDX-License-Identifier: Apache-2.0
#include "data/needle_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/needle_check.h"

namespace braid {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

class NeedleFiles : public testing::Test {
 protected:
  NeedleFiles() : path_(fs::temp_directory_path() / ("braid-needles-" + std::to_string(getpid()) + ".jsonl")) {
    NeedleSpec spec;
    spec.least_tokens = 300;
    spec.most_tokens = 500;
    for (int64_t i = 0; i < 4; ++i)
      samples_.push_back(make_needle_sample(spec, own_needle_texts("ko"), NeedleTokens(), NeedleSplit::test, i).sample);
    good_ = json_line(samples_[0]) + "\n";
  }
  ~NeedleFiles() override { fs::remove(path_); }

  // What reading says of a file with this text, without its name.
  std::string refusal(const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
    try {
      read_needles(path_.string());
    } catch (const UsageError& problem) {
      return std::string(problem.what()).substr(path_.string().size());
    }
    return "accepted";
  }
  // What reading says of a second line whose fields are changed.
  std::string refusal_of(const std::function<void(Json&)>& change) {
    Json row = Json::parse(good_);
    change(row);
    return refusal(good_ + row.dump() + "\n");
  }

  fs::path path_;
  std::vector<NeedleSample> samples_;
  std::string good_;
};

TEST_F(NeedleFiles, AreReadAsTheyWereWritten) {
  std::string text;
  for (const NeedleSample& sample : samples_) text += json_line(sample) + "\n\n";
  EXPECT_EQ(refusal(text), "accepted");
  const std::vector<NeedleSample> read = read_needles(path_.string());
  ASSERT_EQ(read.size(), samples_.size());
  for (size_t i = 0; i < read.size(); ++i) EXPECT_EQ(json_line(read[i]), json_line(samples_[i]));
  EXPECT_EQ(read[2].line, 5);
}

TEST_F(NeedleFiles, MalformedLinesAreNamedWithLineAndField) {
  EXPECT_EQ(refusal(""), ": expected a line for each sample, found none");
  EXPECT_EQ(refusal("\n \n"), ": expected a line for each sample, found none");
  EXPECT_EQ(refusal(good_ + good_.substr(0, good_.size() - 1)),
            ":2: the line has no end; the file may have been cut off");
  EXPECT_TRUE(refusal(good_ + good_.substr(0, good_.size() / 2) + "\n").starts_with(":2: expected UTF-8") ||
              refusal(good_ + good_.substr(0, good_.size() / 2) + "\n").starts_with(":2: is not valid JSON"));
  EXPECT_TRUE(refusal(good_ + "{\"context\": \"a\n").starts_with(":2: is not valid JSON"));
  EXPECT_EQ(refusal(good_ + "{\"context\": \"\xff\"}\n"), ":2: expected UTF-8");
  EXPECT_EQ(refusal(good_ + "[1]\n"), ":2: expected an object");
  EXPECT_EQ(refusal(good_ + std::string(100, '[') + "\n"), ":2: is nested too deeply");
  for (const char* field : {"id", "split", "lang", "task", "seed", "context_tokens", "context", "question", "answers",
                            "filler_id", "distractor_rate"})
    EXPECT_EQ(refusal_of([&](Json& row) { row.erase(field); }), str(":2: ", field, " is missing"));
  for (const char* field : {"key", "value", "char_start", "char_end", "tok_start", "tok_end", "depth"})
    EXPECT_EQ(refusal_of([&](Json& row) { row["needles"][0].erase(field); }),
              str(":2: needles[0]: ", field, " is missing"));
}

TEST_F(NeedleFiles, WrongTypesAndValuesAreNamedWithLineAndField) {
  const auto set = [&](const char* field, const Json& value) {
    return refusal_of([&](Json& row) { row[field] = value; });
  };
  const auto set_needle = [&](const char* field, const Json& value) {
    return refusal_of([&](Json& row) { row["needles"][0][field] = value; });
  };
  EXPECT_EQ(set("context", 5), ":2: context: expected a text");
  EXPECT_EQ(set("question", ""), ":2: question: expected a text that is not empty");
  EXPECT_TRUE(set("seed", "x").starts_with(":2: seed: expected a whole number"));
  EXPECT_TRUE(set("seed", -1).starts_with(":2: seed: expected a whole number"));
  EXPECT_EQ(set("split", "dev"), ":2: split: expected one of train, test");
  EXPECT_EQ(set("needles", Json::array()), ":2: needles: expected one or more");
  EXPECT_EQ(set("answers", Json::array({1})), ":2: answers[0]: expected a text");
  EXPECT_EQ(set("distractor_rate", 2), ":2: distractor_rate: expected a number from 0 to 1");
  EXPECT_EQ(set_needle("depth", "deep"), ":2: needles[0].depth: expected a number from 0 to 1");
  EXPECT_TRUE(set_needle("char_end", 1000000).starts_with(":2: needles[0].char_end: expected a whole number"));
  EXPECT_TRUE(set_needle("tok_start", -1).starts_with(":2: needles[0].tok_start: expected a whole number"));
  EXPECT_TRUE(set_needle("value", "ZZ\nZZZ").starts_with(":2: needles[0]: 'ZZ ZZZ' is not in characters "));
}

TEST_F(NeedleFiles, LinesOfThePublicExperimentAreReadAndRefusedByField) {
  const std::string line =
      R"({"context": "비밀은 ABC123입니다.", "question": "?", "needle": "ABC123", "answer": "ABC123", "needle_position": 0.5, "language": "korean"})";
  EXPECT_EQ(refusal(line + "\n"), "accepted");
  const NeedleSample sample = read_needles(path_.string())[0];
  EXPECT_EQ(sample.language, "ko");
  EXPECT_EQ(statement_of(sample, sample.needles[0]), "ABC123");
  EXPECT_EQ(sample.needles[0].char_start, 4);
  EXPECT_EQ(refusal(R"({"context": "a", "question": "b", "needle": "c"})"
                    "\n"),
            ":1: needle: 'c' is not in the context");
  EXPECT_EQ(refusal(R"({"context": "a", "question": "b"})"
                    "\n"),
            ":1: answer is missing");
  EXPECT_EQ(refusal(R"({"context": "a", "needle": "a"})"
                    "\n"),
            ":1: question is missing");
  EXPECT_EQ(refusal(R"({"context": "a", "question": "b", "needle": "a", "needle_position": 7})"
                    "\n"),
            ":1: needle_position: expected a number from 0 to 1");
}

TEST_F(NeedleFiles, ChecksNameTheFirstSampleThatIsNotWhatItSays) {
  const auto complaint = [&](const std::function<void(std::vector<NeedleSample>&)>& change) -> std::string {
    NeedleFile file{"f.jsonl", samples_};
    for (size_t i = 0; i < file.samples.size(); ++i) file.samples[i].line = int64_t(i) + 1;
    change(file.samples);
    try {
      check_needle_file(file, std::nullopt);
      check_disjoint_keys({file});
    } catch (const Error& problem) {
      EXPECT_EQ(problem.exit_code(), exit_failed);
      return problem.what();
    }
    return "accepted";
  };
  const std::string name = "f.jsonl:3: sample needles-test-000002: ", key = samples_[2].answers[0];
  using Samples = std::vector<NeedleSample>;
  EXPECT_EQ(complaint([](Samples&) {}), "accepted");
  EXPECT_EQ(complaint([&](Samples& all) { all[2].context += " " + key; }),
            name + "the key '" + key + "' stands in the context 2 times");
  EXPECT_TRUE(complaint([](Samples& all) { all[2].needles[0].tok_start += 3; }).starts_with(name + "tokens "));
  const std::string across = complaint([](Samples& all) { all[2].needles[0].tok_end = all[2].context_tokens; });
  EXPECT_TRUE(across.starts_with(name + "tokens ") && across.find('\n') == std::string::npos) << across;
  EXPECT_TRUE(complaint([](Samples& all) { all[2].needles[0].depth = 0.1234; }).starts_with(name + "depth is 0.1234"));
  EXPECT_TRUE(complaint([](Samples& all) {
                all[2].context_tokens = 99;
              }).starts_with(name + "context_tokens is 99, but bytes gives"));
  EXPECT_EQ(complaint([](Samples& all) { all[2].answers = {"ABC"}; }), name + "answer 'ABC' is no key of its needles");
  EXPECT_EQ(complaint([](Samples& all) { all[3].id = all[0].id; }),
            "f.jsonl:4: sample needles-test-000000: its id is that of an earlier one");
  const auto leak = [](Samples& all) {
    all[3] = all[2];
    all[3].line = 4;
    all[3].id = "x";
    all[3].split = "train";
  };
  EXPECT_EQ(complaint(leak), "f.jsonl:4: sample x: key '" + key + "' of split train is in test too (f.jsonl:3)");
}

}  // namespace
}  // namespace braid
