// SPDX-License-Identifier: Apache-2.0
#include "data/text_examples.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace braid {
namespace {

// Written anew for each test; gone with it.
class TextExamples : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/text_examples_XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string file(const std::string& text) const {
    const std::string path = folder_ + "/train.jsonl";
    std::ofstream(path) << text;
    return path;
  }
  std::string refusal(const std::string& text) const {
    try {
      read_text_examples(file(text));
    } catch (const UsageError& error) {
      return std::string(error.what()).substr(folder_.size() + 1);
    }
    return "";
  }
  static Tokenizer tokenizer() {
    const auto tests = std::filesystem::path(__FILE__).parent_path().parent_path();
    return Tokenizer::from_file((tests / "text/data/smol.json").string());
  }

 private:
  std::string folder_;
};

TEST_F(TextExamples, AreReadInBothForms) {
  const std::vector<TextExample> examples = read_text_examples(file(
      R"({"messages": [{"role": "user", "content": "1+1 ->"}, {"role": "assistant", "content": " 2"}], "category": "sums"})"
      "\n\n"
      R"({"prompt": "a", "completion": "b"})"));
  ASSERT_EQ(examples.size(), 2u);
  EXPECT_EQ(examples[0].messages, (Conversation{{"user", "1+1 ->"}, {"assistant", " 2"}}));
  EXPECT_EQ(examples[0].category, "sums");
  EXPECT_EQ(examples[1].messages, (Conversation{{"user", "a"}, {"assistant", "b"}}));
}

TEST_F(TextExamples, WrongLinesAreNamed) {
  EXPECT_NE(refusal("{\"prompt\": \"a\", \"completion\": \"b\"}\n{oops}").find("train.jsonl:2: expected a JSON object"), std::string::npos);
  EXPECT_NE(refusal("{\"prompt\": \"a\"}").find("train.jsonl:1: completion: expected a text"), std::string::npos);
  EXPECT_NE(refusal("{\"messages\": []}").find("messages: expected a list"), std::string::npos);
  EXPECT_NE(refusal(R"({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]})").find("assistant"),
            std::string::npos);
  EXPECT_NE(refusal("\n\n").find("found none"), std::string::npos);
}

// "[x for x in " and "range(3)]" apart: the prompt's last blank is a token of its own, which it is not in the whole.
TEST_F(TextExamples, PromptAndAnswerApartGiveTheTokensThatAnEvaluationAsksWith) {
  const Tokenizer tokens = tokenizer();
  const ChatTemplate raw = ChatTemplate::from_name("raw");
  ExampleForm form{tokens, raw, false, true, std::nullopt};
  const Conversation messages = {{"user", "[x for x in "}, {"assistant", "range(3)]"}};
  const TokenExample apart = tokenise(messages, form);
  const std::vector<TokenId> prompt = prompt_tokens(messages, form);
  EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), apart.ids.begin()));
  EXPECT_EQ(apart.answer, int64_t(prompt.size()));
  form.apart = false;
  const TokenExample together = tokenise(messages, form);
  EXPECT_EQ(tokens.decode(std::vector<TokenId>(together.ids.begin(), together.ids.end())), "[x for x in range(3)]");
  EXPECT_NE(together.ids, apart.ids);
}

TEST_F(TextExamples, AlpacaTextAndEndTokenAreAsThePublicExperimentHasThem) {
  const Tokenizer tokens = tokenizer();
  const ChatTemplate alpaca = ChatTemplate::from_name("alpaca");
  const ExampleForm form{tokens, alpaca, false, true, 0};
  const Conversation messages = {{"user", "Q: Port?\nA:"}, {"assistant", " 80"}};
  const TokenExample example = tokenise(messages, form);
  EXPECT_EQ(example.ids.back(), 0);
  const std::vector<TokenId> ids(example.ids.begin(), example.ids.end() - 1);
  EXPECT_EQ(tokens.decode(ids), "### Instruction:\nQ: Port?\nA:\n\n### Response:\n 80");
}

}  // namespace
}  // namespace braid
