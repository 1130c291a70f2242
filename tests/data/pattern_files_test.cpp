// SPDX-License-Identifier: Apache-2.0
#include "data/pattern_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace braid {
namespace {

namespace fs = std::filesystem;

constexpr const char* head = "name: n\ndescription: d\nversion: \"1.0\"\n";

class PatternFiles : public testing::Test {
 protected:
  PatternFiles() : folder_(fs::temp_directory_path() / ("braid-patterns-" + std::to_string(getpid()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~PatternFiles() override { fs::remove_all(folder_); }
  void put(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }

  // What reading says of a file with this text.
  std::string refusal(const std::string& text) {
    put("a.yaml", text);
    try {
      read_patterns(folder_.string());
    } catch (const UsageError& problem) {
      return problem.what();
    }
    return "accepted";
  }

  fs::path folder_;
};

TEST_F(PatternFiles, AreReadInTheOrderOfTheirNames) {
  put("b.yaml", std::string(head) + "examples:\n  - {input: 1, output: two words, category: c}\n");
  put("a.yaml", std::string(head) +
                    "examples:\n  - input: \"x\\n \"\n    output: ' y'\n    category: d\n  - {output: q, input: p, "
                    "category: d}\n");
  put("notes.txt", "not a pattern file");
  const std::vector<Pattern> patterns = read_patterns(folder_.string());
  ASSERT_EQ(patterns.size(), 3U);
  EXPECT_EQ(patterns[0].input, "x\n ");
  EXPECT_EQ(patterns[0].output, " y");
  EXPECT_EQ(patterns[0].category, "d");
  EXPECT_EQ(patterns[0].source_file, "a.yaml");
  EXPECT_EQ(patterns[1].input, "p");
  EXPECT_EQ(patterns[2].input, "1");
  EXPECT_EQ(patterns[2].source_file, "b.yaml");
}

TEST_F(PatternFiles, WrongOnesAreNamedWithFileLineAndField) {
  const std::string examples = std::string(head) + "examples:\n";
  const struct {
    std::string text;
    std::vector<std::string> words;
  } cases[] = {
      {"", {"a.yaml", "the file", "expected name, description, version, examples"}},
      {"- a\n", {"a.yaml:1", "the file"}},
      {"name: [\n", {"a.yaml:", "expected YAML"}},
      {"name: n\n", {"a.yaml:1", "description", "missing"}},
      {head, {"a.yaml:1", "examples", "missing"}},
      {examples + "  text\n", {"a.yaml:5", "examples", "expected a list"}},
      {examples + "  []\n", {"a.yaml:5", "examples", "expected a list"}},
      {examples + "  - text\n", {"a.yaml:5", "an example", "input, output, category"}},
      {examples + "  - {input: a, output: b}\n", {"a.yaml:5", "category", "missing"}},
      {examples + "  - input: a\n    output: [b]\n    category: c\n", {"a.yaml:6", "output", "expected a text"}},
      {examples + "  - input: a\n    output: ''\n    category: c\n", {"a.yaml:6", "output", "not empty"}},
      {examples + "  - input: a\n    output: b\n    catgory: c\n",
       {"a.yaml:7", "catgory", "expected input, output, category"}},
      {examples + "  - {input: a, output: b, category: c, input: d}\n", {"a.yaml:5", "input", "twice"}},
      {examples + "  - {input: a, output: b, category: c}\n  - {input: a, output: d, category: c}\n",
       {"a.yaml:6", "input", "a.yaml:5"}},
      {examples + "  - {input: \"a\xff\", output: b, category: c}\n", {"a.yaml:5", "UTF-8"}},
  };
  for (const auto& wrong : cases) {
    const std::string line = refusal(wrong.text);
    for (const std::string& word : wrong.words)
      EXPECT_NE(line.find(word), std::string::npos) << line << " has no " << word;
    EXPECT_EQ(line.find('\n'), std::string::npos);
  }
}

TEST_F(PatternFiles, AFolderWithoutThemIsNamed) {
  EXPECT_THROW(read_patterns(folder_.string()), UsageError);
  EXPECT_THROW(read_patterns((folder_ / "none").string()), UsageError);
}

}  // namespace
}  // namespace braid
