// SPDX-License-Identifier: Apache-2.0
// One address for several servers: sharing out, losing and getting back replicas, what is passed on and told of all.
#include "serve/front.h"

#include "front_fixture.h"

namespace braid {
namespace {

using nlohmann::json;

using FrontTest = Fronted;

json completion(int tokens, bool stream = true) {
  return {{"prompt", "Hello world"}, {"max_tokens", tokens}, {"stream", stream}};
}

std::string text_of(const TestReply& reply) {
  std::string text;
  for (const std::string& event : reply.events()) {
    if (event != "[DONE]") text += json::parse(event)["choices"][0]["text"].get<std::string>();
  }
  return text;
}

TEST_F(FrontTest, TheReplicaWithTheFewestOutstandingTokensIsNext) {
  begin(2);
  for (size_t i = 0; i < 2; ++i) backend(i).held = true;
  std::vector<TestClient> clients;
  const auto ask = [&](int tokens) {
    clients.push_back(client());
    clients.back().post("/v1/completions", completion(tokens));
    const int64_t so_far = static_cast<int64_t>(clients.size());
    ASSERT_TRUE(soon([&] { return backend(0).live() + backend(1).live() == so_far; }));
  };
  ask(100);
  EXPECT_EQ(backend(0).live(), 1);
  for (int i = 0; i < 4; ++i) ask(20);  // with their prompts still less than the first one
  EXPECT_EQ(backend(0).live(), 1);
  EXPECT_EQ(backend(1).live(), 4);
  ask(20), ask(20);
  EXPECT_EQ(backend(0).live(), 2) << "the second one has more by then";
  for (size_t i = 0; i < 2; ++i) backend(i).held = false;
  for (TestClient& one : clients) EXPECT_EQ(one.reply().events().back(), "[DONE]");
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(soon([&] { return health(i)["outstanding_tokens"] == 0; }));
    EXPECT_EQ(health(i)["running"], 0);
  }
}

TEST_F(FrontTest, AnswersAreThoseOfAReplicaWhole) {
  begin(1);
  TestClient direct(replicas[0]->serving->port());
  direct.post("/v1/completions", completion(40, false));
  const json expected = direct.reply().json(), told = post("/v1/completions", completion(40, false)).json();
  EXPECT_EQ(told["choices"], expected["choices"]);
  EXPECT_EQ(told["usage"], expected["usage"]);
  const TestReply stream = post("/v1/completions", completion(40));
  EXPECT_EQ(stream.headers.at("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(text_of(stream), expected["choices"][0]["text"]);
  EXPECT_EQ(get("/v1/models/tiny").json()["id"], "tiny");
  EXPECT_EQ(get("/v1/models/%20?").status, 404);
  EXPECT_EQ(post("/tokenize", {{"prompt", "Hello"}}).json()["count"], model.tokenizer.encode("Hello").size());
  EXPECT_EQ(post("/v1/completions", {{"prompt", 3}}).json()["error"]["param"], "prompt");
  TestClient broken = client();
  broken.post("/v1/completions", std::string("{"));
  EXPECT_EQ(broken.reply().json()["error"]["code"], "invalid_json");
}

TEST_F(FrontTest, ALostReplicaFailsWhatItHadBegunAndTheRestMovesOver) {
  begin(2, 1);
  TestClient begun = client(), waiting = client(), chat = client(), whole = client();
  backend(0).step_microseconds = 20000;
  begun.post("/v1/completions", completion(200));
  ASSERT_TRUE(begun.wait_for("data: "));
  backend(0).held = true;
  waiting.post("/v1/completions", completion(30));
  chat.post("/v1/chat/completions",
            json{{"messages", {{{"role", "user"}, {"content", "Hi"}}}}, {"max_tokens", 30}, {"stream", true}});
  whole.post("/v1/completions", completion(30, false));
  ASSERT_TRUE(chat.wait_for("assistant"));  // told before the first token, and not again
  ASSERT_TRUE(soon([&] { return backend(0).live() == 4; }));
  place(1);
  replicas[0]->stop();
  const auto events = begun.reply().events();
  EXPECT_EQ(json::parse(events[events.size() - 2])["error"]["code"], "replica_lost");
  EXPECT_EQ(events.back(), "[DONE]");
  const std::string expected = post("/v1/completions", completion(30, false)).json()["choices"][0]["text"];
  EXPECT_EQ(text_of(waiting.reply()), expected);
  EXPECT_EQ(whole.reply().json()["choices"][0]["text"], expected);
  const TestReply told = chat.reply();
  EXPECT_EQ(told.events().back(), "[DONE]");
  EXPECT_EQ(told.body.find("assistant"), told.body.rfind("assistant"));
  EXPECT_EQ(told.body.find("error"), std::string::npos);
  EXPECT_EQ(health(0)["status"], "not ready");
  EXPECT_TRUE(soon([&] { return backend(0).live() == 0 && backend(1).live() == 0; }));
}

TEST_F(FrontTest, AReplicaThatStartsAgainRejoins) {
  begin(2);
  replicas[0]->stop();
  ASSERT_TRUE(is_up(0, false));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(post("/v1/completions", completion(5, false)).status, 200);
  EXPECT_EQ(backend(0).submitted(), 0);
  fronting->front().lost(0);
  fronting->front().restarted(0);
  place(0);
  EXPECT_EQ(health(0)["restarts"], 1);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(post("/v1/completions", completion(5, false)).status, 200);
  EXPECT_GT(backend(0).submitted(), 0);
}

TEST_F(FrontTest, ARequestThatEndsReplicasEndsThreeAtMost) {
  begin(4);
  for (size_t i = 0; i < 4; ++i) backend(i).held = true;
  TestClient poison = client();
  poison.post("/v1/completions", completion(10, false));
  for (int ended = 0; ended < 3; ++ended) {
    size_t has = 4;
    ASSERT_TRUE(soon([&] {
      for (size_t i = 0; i < 4; ++i) {
        if (backend(i).live() > 0) has = i;
      }
      return has < 4;
    }));
    replicas[has]->stop();
    ASSERT_TRUE(soon([&] { return backend(has).live() == 0; }));
  }
  const TestReply reply = poison.reply();
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.json()["error"]["code"], "replica_lost");
}

TEST_F(FrontTest, WithoutAReplicaItLoads) {
  begin(2, 0);
  EXPECT_EQ(get("/health").status, 503);
  EXPECT_EQ(get("/health").json()["status"], "loading");
  const TestReply reply = post("/v1/completions", completion(5));
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.json()["error"]["code"], "no_replica");
  EXPECT_EQ(post("/execute", json::object()).json()["code"], "WORKER_UNHEALTHY");
  EXPECT_EQ(get("/").status, 200);
  EXPECT_NE(get("/metrics").body.find("\nbraid_ready 0\n"), std::string::npos);
}

TEST_F(FrontTest, AFullReplicaIsPassedOver) {
  begin(2);
  backend(0).room = 0;
  EXPECT_EQ(post("/v1/completions", completion(5, false)).status, 200);
  EXPECT_EQ(backend(1).submitted(), 1);
  backend(1).room = 0;
  const TestReply reply = post("/v1/completions", completion(5));
  EXPECT_EQ(reply.status, 429);
  EXPECT_EQ(reply.headers.at("retry-after"), "1");
}

TEST_F(FrontTest, AClientThatGoesFreesItsSlotBehind) {
  begin(1);
  backend(0).held = true;
  TestClient streaming = client(), waiting = client();
  streaming.post("/v1/completions", completion(100));
  waiting.post("/v1/completions", completion(100, false));
  ASSERT_TRUE(soon([&] { return backend(0).live() == 2; }));
  streaming.close(), waiting.close();
  EXPECT_TRUE(soon([&] { return backend(0).live() == 0; }));
  EXPECT_TRUE(soon([&] { return health(0)["outstanding_tokens"] == 0; }));
}

TEST_F(FrontTest, KeysAreCheckedAndReplicasHaveTheirOwn) {
  options.keys = ApiKeys({"ours"});
  options.replica_key = "inner";
  replica_keys = ApiKeys({"inner"});
  begin(1);
  EXPECT_EQ(post("/v1/completions", completion(5)).status, 401);
  EXPECT_EQ(post("/v1/completions", completion(5), "Authorization: Bearer inner\r\n").status, 401);
  EXPECT_EQ(get("/metrics").status, 401);
  EXPECT_EQ(backend(0).submitted(), 0);
  EXPECT_EQ(post("/v1/completions", completion(5, false), "Authorization: Bearer ours\r\n").status, 200);
}

TEST_F(FrontTest, RequestIdsGoThrough) {
  begin(1);
  const TestReply reply = post("/v1/completions", completion(5, false), "X-Request-Id: abc-2\r\n");
  EXPECT_EQ(reply.headers.at("x-request-id"), "abc-2");
  EXPECT_EQ(reply.json()["id"], "cmpl-abc-2");
  fronting->stop();
  replicas[0]->stop();
  const auto line_of = [](const std::string& all) {
    const size_t at = all.find("abc-2"), begin = all.rfind('\n', at) + 1;
    return json::parse(all.substr(begin, all.find('\n', at) - begin));
  };
  const json here = line_of(log.str()), there = line_of(replicas[0]->log.str());
  EXPECT_EQ(here["replica"], "0");
  EXPECT_EQ(here["moves"], 0);
  EXPECT_EQ(there["tokens"], 5);
}

TEST_F(FrontTest, NumbersOfAllAreInOneText) {
  begin(2);
  for (int i = 0; i < 4; ++i) post("/v1/completions", completion(5, false));
  const std::string text = get("/metrics").body;
  const auto has = [&](const std::string& line) { return text.find("\n" + line + "\n") != std::string::npos; };
  for (const char* replica : {"0", "1"}) {
    EXPECT_TRUE(has(str("braid_replica_up{replica=\"", replica, "\"} 1"))) << text;
    EXPECT_TRUE(has(str("braid_replica_requests_total{replica=\"", replica, "\"} 2")));
    EXPECT_TRUE(has(str("braid_generated_tokens_total{replica=\"", replica, "\"} 10")));
    EXPECT_TRUE(has(str("braid_memory_bytes{replica=\"", replica, "\",kind=\"weights\"} 1000")));
  }
  EXPECT_TRUE(has("braid_http_replies_total{path=\"/v1/completions\",status=\"200\"} 4"));
  EXPECT_EQ(text.find("# TYPE braid_generated_tokens_total"), text.rfind("# TYPE braid_generated_tokens_total"));
  EXPECT_EQ(get("/health").json()["vram_bytes"], 2 * 1234);
}

TEST_F(FrontTest, DrainingLetsAnswersEnd) {
  begin(1);
  backend(0).held = true;
  TestClient running = client();
  running.post("/v1/completions", completion(20));
  ASSERT_TRUE(soon([&] { return backend(0).live() == 1; }));
  bool in_time = false;
  std::jthread drain([&] { in_time = fronting->drain(60); });
  EXPECT_TRUE(soon([&] {
    const TestReply refused = post("/v1/completions", completion(5));
    return refused.status == 503 && refused.json()["error"]["code"] == "draining";
  }));
  backend(0).held = false;
  EXPECT_EQ(running.reply().events().back(), "[DONE]");
  drain.join();
  EXPECT_TRUE(in_time);
}

TEST_F(FrontTest, DrainingCancelsWhatTakesTooLong) {
  begin(1);
  backend(0).held = true;
  TestClient running = client();
  running.post("/v1/completions", completion(20));
  ASSERT_TRUE(soon([&] { return backend(0).live() == 1; }));
  EXPECT_FALSE(fronting->drain(0.05));
  const auto events = running.reply().events();
  ASSERT_GE(events.size(), 2u);
  EXPECT_EQ(json::parse(events[events.size() - 2])["error"]["code"], "cancelled");
  EXPECT_TRUE(soon([&] { return backend(0).live() == 0; }));
}

}  // namespace
}  // namespace braid
