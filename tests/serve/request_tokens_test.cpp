// SPDX-License-Identifier: Apache-2.0
#include "serve/request_tokens.h"

#include <gtest/gtest.h>

namespace braid {
namespace {

constexpr int64_t context = 1000;

RequestTokens of(const std::string& body, const std::string& path = "/v1/completions") {
  return request_tokens(path, body, context);
}

TEST(RequestTokens, CountPromptsAndWhatAnswersMayNeed) {
  EXPECT_EQ(of(R"({"prompt": "12345678", "max_tokens": 50})").prompts, 3);
  EXPECT_EQ(of(R"({"prompt": "12345678", "max_tokens": 50})").answers, 50);
  EXPECT_EQ(of(R"({"prompt": [1, 2, 3, 4, 5]})").all(), 5 + 16);
  EXPECT_EQ(of(R"({"prompt": ["a", "b"], "n": 3, "max_tokens": 10})").answers, 60);
  EXPECT_EQ(of(R"({"prompt": [[1, 2], [3]], "max_tokens": 10})").all(), 3 + 20);
}

TEST(RequestTokens, AChatGoesOnAsLongAsTheContextAllows) {
  const RequestTokens tokens = of(R"({"messages": [{"role": "user", "content": "1234"}]})", "/v1/chat/completions");
  EXPECT_GT(tokens.prompts, 2);
  EXPECT_EQ(tokens.all(), context);
  EXPECT_EQ(of(R"({"messages": [], "max_completion_tokens": 7})", "/v1/chat/completions").answers, 7);
}

TEST(RequestTokens, NeverMoreThanThereCanBe) {
  EXPECT_LE(of(R"({"prompt": "a", "max_tokens": 18446744073709551615})").answers, context);
  EXPECT_LE(of(R"({"prompt": "a", "max_tokens": -5, "n": -3})").all(), context);
}

TEST(RequestTokens, WhatCannotBeReadIsNothing) {
  for (const char* body : {"", "{", "[]", "{\"prompt\": {\"a\": null}}", "3"}) EXPECT_LE(of(body).all(), 16) << body;
  EXPECT_EQ(of(R"({"prompt": "12345678"})", "/tokenize").answers, 0);
}

}  // namespace
}  // namespace braid
