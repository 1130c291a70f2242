// SPDX-License-Identifier: Apache-2.0
// The three fixtures: tokenizers in the style of SmolLM, Llama 3 and Llama 2 with what Hugging Face's tokenizers 0.22.1
// makes of 1000 texts.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "text/json_field.h"
#include "text/tokenizer_config.h"
#include "text/utf8.h"

namespace braid {
namespace {

std::string data(const std::string& name) {
  return (std::filesystem::path(__FILE__).parent_path() / "data" / name).string();
}

const Json& cases() {
  static const Json all = read_json_file(data("cases.json"));
  return all;
}

class Fixture : public testing::TestWithParam<const char*> {
 protected:
  const Tokenizer tokenizer_ = Tokenizer::from_file(data(str(GetParam(), ".json")));
  const std::vector<std::string> texts_ = cases()["texts"];
  const std::vector<std::vector<TokenId>> ids_ = cases()[GetParam()]["ids"];
  const std::vector<std::string> decoded_ = cases()[GetParam()]["decoded"];
};

TEST_P(Fixture, EveryTextHasItsIds) {
  ASSERT_EQ(texts_.size(), 1000u);
  for (size_t i = 0; i < texts_.size(); ++i) EXPECT_EQ(tokenizer_.encode(texts_[i]), ids_[i]) << texts_[i];
  EXPECT_EQ(tokenizer_.encode_batch(texts_), ids_);
}

TEST_P(Fixture, IdsBecomeText) {
  for (size_t i = 0; i < ids_.size(); ++i) EXPECT_EQ(tokenizer_.decode(ids_[i]), decoded_[i]);
}

TEST_P(Fixture, PiecesAreWholeCharactersAndJoinToTheText) {
  IncrementalDecoder decoder(tokenizer_);
  for (size_t i = 0; i < ids_.size(); ++i) {
    std::string joined;
    for (const TokenId id : ids_[i]) {
      const std::string piece = decoder.push(id);
      EXPECT_TRUE(is_valid_utf8(piece));
      joined += piece;
    }
    EXPECT_EQ(joined + decoder.finish(), decoded_[i]);
  }
}

TEST_P(Fixture, ManyThreadsMayUseIt) {
  std::vector<std::vector<std::vector<TokenId>>> found(4, std::vector<std::vector<TokenId>>(texts_.size()));
  {
    std::vector<std::jthread> threads;
    for (auto& mine : found) {
      threads.emplace_back([&] {
        for (size_t i = 0; i < texts_.size(); ++i) mine[i] = tokenizer_.encode(texts_[i]);
      });
    }
  }
  for (const auto& mine : found) EXPECT_EQ(mine, ids_);
}

TEST_P(Fixture, TokensAndIdsAreInverse) {
  for (TokenId id = 0; id < tokenizer_.vocabulary(); ++id) {
    const auto token = tokenizer_.id_to_token(id);
    ASSERT_TRUE(token) << id;
    EXPECT_EQ(tokenizer_.token_to_id(*token), id);
  }
  EXPECT_EQ(tokenizer_.tokens(), static_cast<size_t>(tokenizer_.vocabulary()));
  EXPECT_FALSE(tokenizer_.token_to_id("no such token"));
  EXPECT_FALSE(tokenizer_.id_to_token(-1) || tokenizer_.id_to_token(static_cast<TokenId>(tokenizer_.vocabulary())));
}

INSTANTIATE_TEST_SUITE_P(Families, Fixture, testing::Values("smol", "l3", "tiny"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Tokenizer, WordsThatNoLongerFitIntoTheCacheAreEncodedTheSame) {
  const Tokenizer tokenizer = Tokenizer::from_file(data("smol.json"));
  const std::string word = "tokenization";
  const std::vector<TokenId> before = tokenizer.encode(word);
  for (int i = 0; i < 120000; ++i) tokenizer.encode(str("w", i, "x", i * 7919));  // more words than it holds
  EXPECT_EQ(tokenizer.encode(word), before);
}

TEST(Tokenizer, BytesThatAreNoUtf8CountAsReplacementCharacters) {
  const Tokenizer tokenizer = Tokenizer::from_file(data("l3.json"));
  EXPECT_EQ(tokenizer.encode("a\xFFz\xE2\x82"), tokenizer.encode("a\uFFFDz\uFFFD"));
}

TEST(Tokenizer, IdsWithoutATokenAreLeftOut) {
  const Tokenizer tokenizer = Tokenizer::from_file(data("tiny.json"));
  std::vector<TokenId> ids = tokenizer.encode("Hello");
  const std::string text = tokenizer.decode(ids);
  ids.insert(ids.begin() + 1, {-5, 999999});
  EXPECT_EQ(tokenizer.decode(ids), text);
}

TEST(Tokenizer, SpecialTokensAreKnown) {
  const Tokenizer tokenizer = Tokenizer::from_file(data("l3.json"));
  EXPECT_TRUE(tokenizer.is_special(*tokenizer.token_to_id("<|eot_id|>")));
  EXPECT_FALSE(tokenizer.is_special(*tokenizer.token_to_id("a")));
  EXPECT_FALSE(tokenizer.is_special(-1));
  EXPECT_EQ(end_of_text(tokenizer), tokenizer.token_to_id("<|end_of_text|>"));
}

}  // namespace
}  // namespace braid
