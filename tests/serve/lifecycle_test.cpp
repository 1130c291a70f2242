// SPDX-License-Identifier: Apache-2.0
// From loading to the end: readiness, full queues, clients that go, draining.
#include <random>

#include "serving_fixture.h"

namespace braid {
namespace {

using nlohmann::json;

using Lifecycle = Served;

const json a_stream = {{"prompt", "Hello world"}, {"max_tokens", 100}, {"stream", true}};

TEST_F(Lifecycle, SaysThatItLoads) {
  begin(false);
  const TestReply health = get("/health");
  EXPECT_EQ(health.status, 503);
  EXPECT_EQ(health.json(), (json{{"status", "loading"}, {"vram_bytes", 0}}));
  EXPECT_EQ(complete({}).status, 503);
  EXPECT_EQ(complete({}).json()["error"]["code"], "loading");
  EXPECT_EQ(get("/v1/models").status, 503);
  EXPECT_EQ(post("/execute", json::object()).json()["code"], "WORKER_UNHEALTHY");
  EXPECT_EQ(metric("braid_ready"), 0);
  model.device_id = "GPU-1234";
  serving->be_ready(std::make_shared<const ServedModel>(model), backend);
  EXPECT_TRUE(soon([&] { return get("/health").status == 200; }));
  EXPECT_EQ(get("/health").json(), (json{{"status", "healthy"}, {"vram_bytes", 1234}}));
  EXPECT_EQ(metric("braid_ready"), 1);
  EXPECT_EQ(metric("braid_warm_up_seconds"), 1.5);
  EXPECT_EQ(metric("braid_model_info{model=\"tiny\",device=\"cpu\",precision=\"fp32\",uuid=\"GPU-1234\"}"), 1);
}

TEST_F(Lifecycle, StepsThatCouldNotBeRecordedAreInNumbersAndInTheLog) {
  begin();
  EXPECT_EQ(metric("braid_recorded_step_sizes"), 6);
  EXPECT_EQ(metric("braid_recording_failed"), 0);
  backend.recording_problem = "no graphs";
  EXPECT_EQ(metric("braid_recording_failed"), 1);
  std::ostringstream lines;
  AccessLog(lines).note("not_recorded", "no \"graphs\"");
  const json line = json::parse(lines.str());
  EXPECT_EQ(line["event"], "not_recorded");
  EXPECT_EQ(line["message"], "no \"graphs\"");
  EXPECT_TRUE(line.contains("time"));
}

TEST_F(Lifecycle, AClientThatGoesIsCancelled) {
  backend.held = true;
  begin();
  TestClient streaming = client(), waiting = client();
  streaming.post("/v1/completions", a_stream);
  waiting.post("/v1/completions", json{{"prompt", "a"}, {"n", 3}});
  EXPECT_TRUE(soon([&] { return backend.live() == 4; }));
  streaming.close();
  EXPECT_TRUE(soon([&] { return backend.live() == 3; }));
  waiting.close();
  EXPECT_TRUE(soon([&] { return backend.live() == 0; }));
  EXPECT_TRUE(soon([&] { return metric("braid_cancelled_total") == 4; }));
  serving->stop();
  EXPECT_NE(log.str().find("\"status\":499"), std::string::npos);
}

TEST_F(Lifecycle, AFullQueueIsTold) {
  backend.room = 2;
  backend.held = true;
  begin();
  TestClient first = client();
  first.post("/v1/completions", a_stream);
  EXPECT_TRUE(soon([&] { return backend.live() == 1; }));
  const TestReply reply = complete({{"n", 2}});
  EXPECT_EQ(reply.status, 429);
  EXPECT_EQ(reply.headers.at("retry-after"), "1");
  EXPECT_EQ(reply.json()["error"]["code"], "queue_full");
  EXPECT_TRUE(soon([&] { return backend.live() == 1; })) << "the one of the two that was taken must go";
  EXPECT_EQ(metric("braid_queue_full_total"), 1);
  backend.held = false;
  EXPECT_EQ(first.reply().events().back(), "[DONE]");
}

TEST_F(Lifecycle, TheTimeOutIsHandedOn) {
  options.timeout_seconds = 7;
  begin();
  complete({});
  EXPECT_EQ(backend.last_timeout, 7);
}

TEST_F(Lifecycle, DrainingLetsAnswersEndAndTakesNoMore) {
  backend.step_microseconds = 5000;
  begin();
  TestClient running = client();
  running.post("/v1/completions", a_stream);
  EXPECT_TRUE(soon([&] { return backend.live() == 1; }));
  bool in_time = false;
  std::jthread drain([&] { in_time = serving->drain(60); });
  EXPECT_TRUE(soon([&] {
    const TestReply health = get("/health");  // none, where the connection was idle when the draining began
    return health.status != 0 && health.json()["status"] == "draining";
  }));
  const TestReply refused = complete({});
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.json()["error"]["code"], "draining");
  EXPECT_EQ(refused.headers.at("connection"), "close");
  EXPECT_EQ(running.reply().events().back(), "[DONE]");
  EXPECT_TRUE(running.ended());
  drain.join();
  EXPECT_TRUE(in_time);
}

TEST_F(Lifecycle, DrainingCancelsWhatTakesTooLong) {
  backend.held = true;
  begin();
  TestClient running = client(), idle = client();
  running.post("/v1/completions", a_stream);
  EXPECT_TRUE(soon([&] { return backend.live() == 1; }));
  EXPECT_FALSE(serving->drain(0.05));
  EXPECT_EQ(backend.live(), 0);
  const auto events = running.reply().events();
  ASSERT_GE(events.size(), 2u);
  EXPECT_EQ(json::parse(events[events.size() - 2])["error"]["code"], "cancelled");
  EXPECT_TRUE(idle.ended());
}

TEST_F(Lifecycle, ASuddenStopLeavesNothingBehind) {
  backend.held = true;
  begin();
  std::vector<TestClient> all;
  for (int i = 0; i < 10; ++i) {
    all.push_back(client());
    all.back().post("/v1/completions", a_stream);
  }
  EXPECT_TRUE(soon([&] { return backend.live() == 10; }));
  serving->stop();
  EXPECT_TRUE(soon([&] { return backend.live() == 0; }));
  for (TestClient& one : all) EXPECT_TRUE(one.ended());
}

// Texts that are worth comparing: each client's own.
std::string prompt_of(int client) { return "client " + std::to_string(client) + " asks for 🙂"; }

std::string text_of(const TestReply& reply) {
  std::string text;
  for (const std::string& event : reply.events()) {
    if (event != "[DONE]") text += json::parse(event)["choices"][0]["text"].get<std::string>();
  }
  return text;
}

TEST_F(Lifecycle, OfTwoHundredStreamsHalfVanishAndTheOthersTextsAreTheirs) {
  begin();
  constexpr int clients = 200;
  std::vector<TestClient> all;
  std::mt19937 random(3);
  for (int i = 0; i < clients; ++i) {
    all.push_back(client());
    all.back().post("/v1/completions", json{{"prompt", prompt_of(i)}, {"max_tokens", 60}, {"stream", true}});
  }
  for (int i = 0; i < clients; i += 2) {
    if (random() % 2) all[i].wait_for("data: ");
    all[i].close();
  }
  for (int i = 1; i < clients; i += 2) {
    const TestReply reply = all[i].reply();
    const auto prompt = model.tokenizer.encode(prompt_of(i));
    std::vector<TokenId> expected;
    for (size_t t = 0; t < 60; ++t) expected.push_back(prompt[t % prompt.size()]);
    EXPECT_EQ(text_of(reply), model.tokenizer.decode(expected));
    EXPECT_EQ(reply.events().back(), "[DONE]");
  }
  EXPECT_TRUE(soon([&] { return backend.live() == 0; }));
  EXPECT_GE(backend.submitted(), clients / 2);
  EXPECT_TRUE(soon([&] {
    const double whole = metric("braid_requests_total{outcome=\"length\"}");
    return whole >= clients / 2 && whole + metric("braid_cancelled_total") == static_cast<double>(backend.submitted());
  }));
}

}  // namespace
}  // namespace braid
