// SPDX-License-Identifier: Apache-2.0
// Text of tokens as they come. The tokenizers are those that tests/text holds against the package tokenizers.
#include "infer/answer.h"

#include <gtest/gtest.h>

#include "../store/thrown.h"

namespace braid {
namespace {

const std::string folder = std::string(__FILE__).substr(0, std::string(__FILE__).rfind("/infer/")) + "/text/data/";

class AnswerText : public testing::TestWithParam<const char*> {
 protected:
  AnswerText() : tokenizer(Tokenizer::from_file(folder + GetParam() + ".json")) {}

  std::vector<TokenId> tokens_of(const std::string& text) const {
    return tokenizer.encode(text, SpecialTokens::leave_out);
  }

  // The pieces that come until the answer ends.
  std::vector<std::string> run(GenerationRequest request, const std::vector<TokenId>& tokens) {
    request.max_tokens = std::min<int64_t>(request.max_tokens, static_cast<int64_t>(tokens.size()));
    GrowingAnswer growing(request, &tokenizer);
    std::vector<std::string> pieces;
    for (size_t i = 0; !growing.finished(); ++i)
      pieces.push_back(growing.push({static_cast<int64_t>(tokens[i]), 0, {}}));
    answer = growing.answer();
    std::string whole;
    for (const std::string& piece : pieces) whole += piece;
    EXPECT_EQ(whole, answer.text);
    return pieces;
  }

  Tokenizer tokenizer;
  Answer answer;
};

constexpr const char* texts[] = {"The capital of Peru is Lima.",
                                 "한국어 문장과 이모지 🦙🇰🇷👨‍👩‍👧‍👦!",
                                 "a\tb\n\n  c ☃ 𝔘𝔫𝔦", "日本語、中文"};

TEST_P(AnswerText, PiecesJoinToTheDecodeOfAllTokens) {
  for (const char* text : texts) {
    const std::vector<TokenId> tokens = tokens_of(text);
    for (size_t count = 1; count <= tokens.size(); ++count) {  // an answer may end within a character
      const std::vector<TokenId> some(tokens.begin(), tokens.begin() + static_cast<int64_t>(count));
      GenerationRequest request;
      request.stop_strings = {"never", "한국인", "🦙🦙", "\n\n\n"};
      run(request, some);
      EXPECT_EQ(answer.text, tokenizer.decode(some));
      EXPECT_EQ(answer.reason, FinishReason::length);
    }
  }
}

TEST_P(AnswerText, EndsExactlyBeforeAStopString) {
  for (const char* text : texts) {
    const std::vector<TokenId> tokens = tokens_of(text);
    const std::string whole = tokenizer.decode(tokens);
    // Every stop string of two code points, so that most begin or end within a token.
    std::vector<size_t> starts;
    for (size_t at = 0; at < whole.size(); ++at) {
      if ((static_cast<unsigned char>(whole[at]) & 0xC0) != 0x80) starts.push_back(at);
    }
    for (size_t i = 0; i + 2 < starts.size(); ++i) {
      GenerationRequest request;
      request.stop_strings = {whole.substr(starts[i], starts[i + 2] - starts[i])};
      run(request, tokens);
      EXPECT_EQ(answer.text, whole.substr(0, whole.find(request.stop_strings[0])));
      EXPECT_EQ(answer.reason, FinishReason::stop);
      EXPECT_EQ(answer.stop_string, request.stop_strings[0]);
      EXPECT_FALSE(answer.stop_id);
    }
  }
}

TEST_P(AnswerText, AStopIdEndsItAndIsNoPartOfTheText) {
  std::vector<TokenId> tokens = tokens_of("Lima or Quito");
  GenerationRequest request;
  request.stop_ids = {7, tokens[1]};
  request.stop_strings = {"Lima or Quito and more"};
  run(request, tokens);
  EXPECT_EQ(answer.text, tokenizer.decode({tokens.data(), 1}));
  EXPECT_EQ(answer.tokens.size(), 2u);
  EXPECT_EQ(answer.reason, FinishReason::stop);
  EXPECT_EQ(answer.stop_id, int64_t{tokens[1]});
  EXPECT_EQ(answer.stop_string, "");
}

TEST_P(AnswerText, StopStringsDoNotCountBeforeMinTokens) {
  const std::vector<TokenId> tokens = tokens_of("x=1; y=2; z=3;");
  GenerationRequest request;
  request.stop_strings = {";"};
  run(request, tokens);
  const std::string first = answer.text;
  request.min_tokens = static_cast<int64_t>(answer.tokens.size());
  run(request, tokens);
  EXPECT_GT(answer.text.size(), first.size());
  EXPECT_EQ(answer.reason, FinishReason::stop);
  request.min_tokens = static_cast<int64_t>(tokens.size());
  run(request, tokens);
  EXPECT_EQ(answer.text, tokenizer.decode(tokens));
  EXPECT_EQ(answer.reason, FinishReason::length);
}

TEST_P(AnswerText, ComesAsSoonAsItIsCertain) {
  const std::vector<TokenId> tokens = tokens_of("The capital of Peru is Lima.");
  GenerationRequest request;
  request.stop_strings = {"\nQ:"};
  const std::vector<std::string> pieces = run(request, tokens);
  for (size_t i = 0; i + 1 < tokens.size(); ++i) EXPECT_NE(pieces[i], "") << "token " << i;
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, AnswerText, testing::Values("smol", "l3", "tiny"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Answer, WithoutATokenizerIsIdsAlone) {
  GenerationRequest request;
  request.max_tokens = 2;
  GrowingAnswer growing(request, nullptr);
  EXPECT_EQ(growing.push({5, 0, {}}), "");
  EXPECT_EQ(growing.push({6, 0, {}}), "");
  EXPECT_EQ(growing.answer().ids(), (std::vector<int64_t>{5, 6}));
  EXPECT_EQ(growing.answer().reason, FinishReason::length);
  request.stop_strings = {"x"};
  EXPECT_EQ(thrown_message([&] { GrowingAnswer(request, nullptr); }), "stop strings need a tokenizer");
}

TEST(Answer, OfNoTokensHasEnded) {
  GenerationRequest request;
  request.max_tokens = 0;
  EXPECT_TRUE(GrowingAnswer(request, nullptr).finished());
}

}  // namespace
}  // namespace braid
