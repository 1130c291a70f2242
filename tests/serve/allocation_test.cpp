// SPDX-License-Identifier: Apache-2.0
// An allocation that fails, one after the other of all that two requests need from their first byte to their last: one of
// them may fail, the other has its answer, and nothing is left behind.
#include "../base/failing_new.h"
#include "front_fixture.h"
#include "serve/json_word.h"

namespace braid {
namespace {

using nlohmann::json;

// What the tests themselves need does not fail, nor what the scripted backend does but telling of progress.
class Allocations : public Fronted {
 protected:
  Allocations() {
    test::is_spared = true;
    begin(1);
    backend(0).step_microseconds = 100;
    backend(0).own_business = [](bool own) { test::is_spared = own; };
  }

  static std::string text_of(const TestReply& reply) {
    std::string text;
    for (const std::string& event : reply.events()) {
      const json body = event == "[DONE]" ? json() : json::parse(event);
      if (body.is_object() && body.contains("choices")) text += body["choices"][0].value("text", "");
    }
    return text;
  }

  // Whether it was answered as if nothing had happened; if not, then in one of the ways in which a client is told.
  static bool is_whole(const TestReply& reply, const std::string& expected) {
    if (reply.status == 200 && !reply.events().empty() && reply.events().back() == "[DONE]") {
      const bool failed = reply.body.find("\"error\"") != std::string::npos;
      EXPECT_TRUE(failed || text_of(reply) == expected) << reply.body;
      return !failed;
    }
    EXPECT_TRUE(reply.status == 0 || reply.status == 200 || reply.status == 503) << reply.status << reply.body;
    return false;
  }

  // Requests to `port`, with the k-th allocation failing, for every stride-th k. How many of them failed.
  int64_t sweep(uint16_t port, int64_t stride) {
    const json one = {{"prompt", "Hello world"}, {"max_tokens", 4}, {"stream", true}};
    const json other = {{"prompt", "a b c"}, {"max_tokens", 4}, {"stream", true}};
    const auto ask = [&](const json& body) {
      TestClient client(port);
      client.post("/v1/completions", body);
      return client;
    };
    const std::string expected = text_of(ask(one).reply()), expected_other = text_of(ask(other).reply());
    EXPECT_FALSE(expected.empty() || expected_other.empty());
    int64_t failed = 0;
    for (int64_t k = 0;; k += stride) {
      test::allocations_left = k;
      TestClient first = ask(one), second = ask(other);
      const bool first_whole = is_whole(first.reply(), expected), second_whole = is_whole(second.reply(), expected_other);
      EXPECT_TRUE(first_whole || second_whole) << "both failed at allocation " << k;
      EXPECT_TRUE(soon([&] { return backend(0).live() == 0; })) << "at allocation " << k;
      failed += !first_whole + !second_whole;
      const bool all_were_made = test::allocations_left.exchange(-1) >= 0;
      if (all_were_made || testing::Test::HasFailure()) return failed;
    }
  }

  ~Allocations() override { test::is_spared = false; }
};

TEST_F(Allocations, ThatFailInTheFrontFailOneRequest) {
  EXPECT_GT(sweep(fronting->port(), 29), 20);
  EXPECT_TRUE(fronting->drain(10));
}

TEST_F(Allocations, ThatFailInTheServerFailOneRequest) {
  EXPECT_GT(sweep(replicas[0]->serving->port(), 17), 20);
  EXPECT_TRUE(replicas[0]->serving->drain(10));
}

// It stands where nobody could catch what it throws.
TEST(JsonWord, ComparesWithoutMemory) {
  const json value = "a text that is longer than what a string has room for itself", number = 3;
  test::allocations_left = 0;
  const bool same = is_word(value, "a text that is longer than what a string has room for itself");
  const bool other = is_word(value, "a text that is longer than what a string has room for: another") || is_word(number, "");
  const bool one = is_one_of(value, {"no", "neither", "a text that is longer than what a string has room for itself"});
  EXPECT_EQ(test::allocations_left.exchange(-1), 0);
  EXPECT_TRUE(same && one);
  EXPECT_FALSE(other);
}

}  // namespace
}  // namespace braid
