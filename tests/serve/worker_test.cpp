// SPDX-License-Identifier: Apache-2.0
// /execute as the public worker has it.
#include "serving_fixture.h"

namespace braid {
namespace {

using nlohmann::json;

class Worker : public Served {
 protected:
  void SetUp() override { begin(); }

  TestReply execute(const json& more) const {
    json body = {{"job_id", "job-1"}, {"prompt", "Hello world"}, {"max_tokens", 6}};
    if (!more.is_null()) body.update(more);
    return post("/execute", body);
  }
  std::vector<json> events(const json& more) const {
    std::vector<json> all;
    for (const std::string& event : execute(more).events()) all.push_back(json::parse(event));
    return all;
  }
};

TEST_F(Worker, TellsItsEventsInOrder) {
  const auto all = events({});
  ASSERT_EQ(all.size(), 9u);
  EXPECT_EQ(all[0]["type"], "started");
  EXPECT_EQ(all[0]["job_id"], "job-1");
  EXPECT_EQ(all[0]["model"], "tiny");
  std::string text;
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(all[i + 1]["type"], "token");
    EXPECT_EQ(all[i + 1]["i"], i);
    text += all[i + 1]["t"].get<std::string>();
  }
  EXPECT_TRUE(text.starts_with("Hello worldHello"));
  EXPECT_EQ(all[7]["type"], "metrics");
  EXPECT_EQ(all[7]["vram_bytes"], 1234);
  EXPECT_NEAR(all[7]["tokens_per_sec"].get<double>(), 1000, 1e-6);
  EXPECT_EQ(all[8], (json{{"type", "end"}, {"tokens_out", 6}, {"decode_time_ms", 6}, {"stop_reason", "MAX_TOKENS"}}));
}

TEST_F(Worker, TellsWhichStopCame) {
  const json last = events({{"stop", {"xyz", "world"}}, {"max_tokens", 50}}).back();
  EXPECT_EQ(last["stop_reason"], "STOP_SEQUENCE");
  EXPECT_EQ(last["stop_sequence_matched"], "world");
}

TEST_F(Worker, EventsComeAsTheyHappen) {
  backend.held = true;
  TestClient one = client();
  one.post("/execute", json{{"job_id", "j"}, {"prompt", "a"}, {"max_tokens", 3}});
  EXPECT_TRUE(one.wait_for("\"started\""));
  EXPECT_EQ(one.held().find("\"token\""), std::string::npos);
  backend.held = false;
  EXPECT_TRUE(one.wait_for("\"end\""));
}

TEST_F(Worker, TakesTheSchemasDefaults) {
  execute({});
  const SamplingOptions& sampling = backend.last.sampling;
  EXPECT_EQ(sampling.temperature, 1);
  EXPECT_EQ(sampling.seed, 42u);
  EXPECT_EQ(sampling.top_p, 1);
  EXPECT_EQ(sampling.top_k, 0);
  execute({{"seed", 18446744073709551615u}, {"top_k", 4294967295}, {"temperature", 0}});
  EXPECT_EQ(backend.last.sampling.seed, 18446744073709551615u);
}

TEST_F(Worker, TellsAllThatIsWrongAtOnceAndNeverThePrompt) {
  const json wrong = {{"job_id", ""},
                      {"prompt", std::string(32769, 'q')},
                      {"max_tokens", 0},
                      {"temperature", 2.5},
                      {"top_p", -0.1},
                      {"top_k", -1},
                      {"repetition_penalty", 3},
                      {"min_p", 2},
                      {"seed", "x"},
                      {"stop", {"a", "b", "c", "d", "e"}}};
  const TestReply reply = execute(wrong);
  EXPECT_EQ(reply.status, 400);
  std::vector<std::string> fields;
  const json errors = reply.json()["errors"];
  for (const json& error : errors) {
    fields.push_back(error["field"]);
    EXPECT_TRUE(error.contains("constraint") && error.contains("message"));
  }
  EXPECT_EQ(fields, (std::vector<std::string>{"job_id", "prompt", "max_tokens", "temperature", "seed", "top_p", "top_k",
                                              "repetition_penalty", "min_p", "stop"}));
  EXPECT_EQ(errors[3]["value"], 2.5);
  EXPECT_EQ(reply.body.find("qqq"), std::string::npos);
  EXPECT_EQ(execute({{"stop", {std::string(101, 'x')}}}).status, 400);
  EXPECT_EQ(execute({{"max_tokens", 2049}}).status, 400);
  EXPECT_EQ(execute({{"max_tokens", 2048}}).status, 200) << "what the context does not hold is cut off";
}

TEST_F(Worker, CountsCharactersNotBytes) {
  model.context = 100000;
  std::string prompt;
  for (int i = 0; i < 32768; ++i) prompt += "ü";
  const TestReply reply = execute({{"prompt", prompt}, {"max_tokens", 1}});
  EXPECT_EQ(reply.json()["code"], "INVALID_REQUEST") << "too long for the context, but not for the schema";
}

TEST_F(Worker, TroubleIsAnEvent) {
  backend.trouble = RequestOutcome::out_of_memory;
  json last = events({}).back();
  EXPECT_EQ(last["type"], "error");
  EXPECT_EQ(last["code"], "VRAM_OOM");
  backend.trouble = RequestOutcome::failed;
  EXPECT_EQ(events({}).back()["code"], "INFERENCE_FAILED");
  backend.trouble = RequestOutcome::timed_out;
  EXPECT_EQ(events({}).back()["code"], "TIMEOUT");
}

}  // namespace
}  // namespace braid
