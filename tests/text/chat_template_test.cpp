// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace braid {
namespace {

using Json = nlohmann::ordered_json;

TEST(ChatTemplate, EveryNameIsAFormat) {
  const Json messages = {{{"role", "user"}, {"content", "hello"}}};
  for (const std::string& name : ChatTemplate::names()) {
    EXPECT_NE(ChatTemplate::from_name(name).render(messages, true).find("hello"), std::string::npos) << name;
  }
}

TEST(ChatTemplate, AnUnknownNameIsRefusedWithTheKnownOnes) {
  try {
    ChatTemplate::from_name("chatlm");
    FAIL();
  } catch (const UsageError& problem) {
    EXPECT_STREQ(problem.what(), "chat template chatlm: expected one of alpaca, chatml, llama3, raw, zephyr");
  }
}

TEST(ChatTemplate, OtherSpecialTokensTakeTheirPlace) {
  const Json messages = {{{"role", "user"}, {"content", "x"}}};
  EXPECT_EQ(ChatTemplate::from_name("zephyr", "", "<end>").render(messages, false), "<|user|>\nx<end>\n");
  EXPECT_EQ(ChatTemplate::from_name("llama3", "<first>").render(messages, false).substr(0, 8), "<first><");
}

TEST(ChatTemplate, MoreVariablesReachTheTemplate) {
  const ChatTemplate chat("{{ tools is none }}{{ mood }}{{ bos_token }}", "t", {{"bos_token", "B"}});
  EXPECT_EQ(chat.render(Json::array(), false), "TrueB");
  EXPECT_EQ(chat.render(Json::array(), false, Json{{"mood", "good"}, {"tools", Json::array()}}), "FalsegoodB");
}

TEST(ChatTemplate, WhatAreNoMessagesIsRefused) {
  const ChatTemplate chat = ChatTemplate::from_name("chatml");
  EXPECT_THROW(chat.render(Json("text"), false), UsageError);
  EXPECT_THROW(chat.render(Json::array({"text"}), false), UsageError);
  EXPECT_THROW(chat.render(Json::array({Json{{"role", "user"}}}), false), UsageError);
}

}  // namespace
}  // namespace braid
