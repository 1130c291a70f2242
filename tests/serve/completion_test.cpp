// SPDX-License-Identifier: Apache-2.0
// /v1/completions and /v1/chat/completions over sockets.
#include "serving_fixture.h"

namespace braid {
namespace {

using nlohmann::json;

class Completions : public Served {
 protected:
  void SetUp() override { begin(); }

  // What the fake answers with: the prompt again.
  std::string expected(const std::string& prompt, size_t tokens) const {
    const auto ids = model.tokenizer.encode(prompt);
    std::vector<TokenId> all;
    for (size_t i = 0; i < tokens; ++i) all.push_back(ids[i % ids.size()]);
    return model.tokenizer.decode(all);
  }
};

TEST_F(Completions, AnswerWhole) {
  const TestReply reply = complete({});
  ASSERT_EQ(reply.status, 200) << reply.body;
  const json body = reply.json();
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["model"], "tiny");
  EXPECT_EQ(body["choices"][0]["text"], expected("Hello world", 8));
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  const auto prompt = static_cast<int>(model.tokenizer.encode("Hello world").size());
  EXPECT_EQ(body["usage"]["prompt_tokens"], prompt);
  EXPECT_EQ(body["usage"]["completion_tokens"], 8);
  EXPECT_EQ(body["usage"]["total_tokens"], prompt + 8);
}

TEST_F(Completions, StreamsTheSameText) {
  const TestReply reply = complete({{"prompt", "Grüße 🙂, wörld"}, {"max_tokens", 40}, {"stream", true}});
  ASSERT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("content-type"), "text/event-stream; charset=utf-8");
  const auto events = reply.events();
  ASSERT_GT(events.size(), 10u);
  EXPECT_EQ(events.back(), "[DONE]");
  std::string text;
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    const json choice = json::parse(events[i])["choices"][0];
    text += choice["text"].get<std::string>();
    EXPECT_EQ(choice["finish_reason"].is_null(), i + 2 < events.size());
  }
  EXPECT_EQ(text, expected("Grüße 🙂, wörld", 40));
}

TEST_F(Completions, StreamTellsUsageLastWhereAskedTo) {
  const TestReply reply = complete({{"stream", true}, {"stream_options", {{"include_usage", true}}}});
  const auto events = reply.events();
  ASSERT_GE(events.size(), 3u);
  const json last = json::parse(events[events.size() - 2]);
  EXPECT_TRUE(last["choices"].empty());
  EXPECT_EQ(last["usage"]["completion_tokens"], 8);
  EXPECT_TRUE(json::parse(events[0])["usage"].is_null());
}

TEST_F(Completions, TakeSeveralPromptsAndAnswers) {
  const json body = complete({{"prompt", {"Hello", "a b c"}}, {"n", 2}, {"echo", true}}).json();
  ASSERT_EQ(body["choices"].size(), 4u);
  EXPECT_EQ(body["choices"][1]["index"], 1);
  EXPECT_EQ(body["choices"][1]["text"], "Hello" + expected("Hello", 8));
  EXPECT_EQ(body["choices"][3]["text"], "a b c" + expected("a b c", 8));
  const size_t prompts = model.tokenizer.encode("Hello").size() + model.tokenizer.encode("a b c").size();
  EXPECT_EQ(body["usage"]["prompt_tokens"], prompts);
  EXPECT_EQ(backend.last.sampling.answer, 1);
}

TEST_F(Completions, TakeTokenIds) {
  const auto ids = model.tokenizer.encode("Hello world");
  EXPECT_EQ(complete({{"prompt", ids}}).json()["choices"][0]["text"], expected("Hello world", 8));
  EXPECT_EQ(complete({{"prompt", {ids, ids}}}).json()["choices"].size(), 2u);
  EXPECT_EQ(complete({{"prompt", {1, 99999}}}).status, 400);
}

TEST_F(Completions, EndAtStopStrings) {
  const json choice = complete({{"stop", "world"}, {"max_tokens", 50}}).json()["choices"][0];
  EXPECT_EQ(choice["text"], "Hello ");
  EXPECT_EQ(choice["finish_reason"], "stop");
}

TEST_F(Completions, HandEveryOptionOn) {
  const json options = {{"temperature", 0.5},
                        {"top_p", 0.9},
                        {"top_k", 7},
                        {"min_p", 0.1},
                        {"repetition_penalty", 1.2},
                        {"seed", 12},
                        {"min_tokens", 3},
                        {"stop", {"x", "y"}},
                        {"presence_penalty", -1},
                        {"frequency_penalty", 1.5},
                        {"stop_token_ids", {5}}};
  ASSERT_EQ(complete(options).status, 200);
  const GenerationRequest& request = backend.last;
  EXPECT_EQ(request.sampling.temperature, 0.5);
  EXPECT_EQ(request.sampling.top_p, 0.9);
  EXPECT_EQ(request.sampling.top_k, 7);
  EXPECT_EQ(request.sampling.min_p, 0.1);
  EXPECT_EQ(request.sampling.repetition_penalty, 1.2);
  EXPECT_EQ(request.sampling.presence_penalty, -1);
  EXPECT_EQ(request.sampling.frequency_penalty, 1.5);
  EXPECT_EQ(request.sampling.seed, 12u);
  EXPECT_EQ(request.min_tokens, 3);
  EXPECT_EQ(request.stop_strings, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(request.stop_ids, (std::vector<int64_t>{5}));
}

TEST_F(Completions, TellLogprobs) {
  const auto ids = model.tokenizer.encode("Hello world");
  backend.top = {{ids[0], -0.25}, {ids[1], -1.5}};
  const json lists = complete({{"logprobs", 2}}).json()["choices"][0]["logprobs"];
  EXPECT_EQ(backend.last.sampling.logprobs, 2);
  ASSERT_EQ(lists["tokens"].size(), 8u);
  EXPECT_EQ(lists["tokens"][0], "Hel");
  EXPECT_EQ(lists["token_logprobs"][1], -0.5);
  EXPECT_EQ(lists["top_logprobs"][0]["Hel"], -0.25);
  EXPECT_EQ(lists["text_offset"][1], 3);
}

class Chats : public Completions {
 protected:
  json messages = {
      {{"role", "system"}, {"content", "Be brief."}},
      {{"role", "user"}, {"content", {{{"type", "text"}, {"text", "Hi"}}, {{"type", "text"}, {"text", "!"}}}}}};
  const std::string text =
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n";

  TestReply chat(const json& more) const {
    json body = {{"messages", messages}, {"max_tokens", 5}};
    if (!more.is_null()) body.update(more);
    return post("/v1/chat/completions", body);
  }
};

TEST_F(Chats, AreAskedInTheModelsTemplate) {
  const TestReply reply = chat({});
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.json()["choices"][0]["message"]["content"], expected(text, 5));
  EXPECT_EQ(reply.json()["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(backend.last.prompt.size(), model.tokenizer.encode(text, SpecialTokens::leave_out).size());
}

TEST_F(Chats, GoOnAsLongAsTheContextAllows) {
  json body = {{"messages", messages}};
  ASSERT_EQ(post("/v1/chat/completions", body).status, 200);
  EXPECT_EQ(backend.last.max_tokens + static_cast<int64_t>(backend.last.prompt.size()), model.context);
}

TEST_F(Chats, StreamTheRoleFirst) {
  const auto events = chat({{"stream", true}}).events();
  EXPECT_EQ(json::parse(events[0])["choices"][0]["delta"]["role"], "assistant");
  std::string content;
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    content += json::parse(events[i])["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(content, expected(text, 5));
  EXPECT_EQ(json::parse(events[events.size() - 2])["choices"][0]["finish_reason"], "length");
}

TEST_F(Chats, TellLogprobsWithBytes) {
  const json content = chat({{"logprobs", true}, {"top_logprobs", 0}}).json()["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 5u);
  for (const json& token : content) {
    std::string bytes;
    for (const int byte : token["bytes"]) bytes += static_cast<char>(byte);
    EXPECT_EQ(bytes, token["token"]);
  }
}

struct Wrong {
  json body;
  std::string field;  // param of the error
};

TEST_F(Chats, WrongFieldsAreNamed) {
  const Wrong all[] = {
      {{{"messages", nullptr}}, "messages"},
      {{{"messages", json::array()}}, "messages"},
      {{{"messages", "hi"}}, "messages"},
      {{{"messages", {1}}}, "messages[0]"},
      {{{"messages", {{{"role", "robot"}, {"content", "x"}}}}}, "messages[0].role"},
      {{{"messages", {{{"role", "tool"}, {"content", "x"}}}}}, "messages[0].role"},
      {{{"messages", {{{"role", "user"}}}}}, "messages[0].content"},
      {{{"messages", {{{"role", "user"}, {"content", {{{"type", "image_url"}}}}}}}}, "messages[0].content"},
      {{{"tools", {{{"type", "function"}}}}}, "tools"},
      {{{"tool_choice", "required"}}, "tool_choice"},
      {{{"response_format", {{"type", "json_object"}}}}, "response_format"},
      {{{"top_logprobs", 2}}, "top_logprobs"},
      {{{"logprobs", 2}}, "logprobs"},
      {{{"max_completion_tokens", 100000}}, "max_tokens"},
      {{{"prompt", "x"}}, "prompt"},
  };
  for (const auto& [body, field] : all) {
    const TestReply reply = chat(body);
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_EQ(reply.json()["error"]["param"], field) << reply.body;
    EXPECT_EQ(reply.json()["error"]["type"], "invalid_request_error");
  }
}

TEST_F(Completions, WrongFieldsAreNamed) {
  const Wrong all[] = {
      {{{"prompt", nullptr}}, "prompt"},
      {{{"prompt", 3}}, "prompt"},
      {{{"prompt", ""}}, "prompt"},
      {{{"prompt", json::array()}}, "prompt"},
      {{{"prompt", {"a", 1}}}, "prompt"},
      {{{"prompt", {1, "a"}}}, "prompt"},
      {{{"prompt", {-1}}}, "prompt"},
      {{{"prompt", {{"text", "a"}}}}, "prompt"},
      {{{"max_tokens", 0}}, "max_tokens"},
      {{{"max_tokens", 1.5}}, "max_tokens"},
      {{{"max_tokens", "8"}}, "max_tokens"},
      {{{"max_tokens", 1000}}, "max_tokens"},
      {{{"max_tokens", 18446744073709551615u}}, "max_tokens"},
      {{{"temperature", "hot"}}, "temperature"},
      {{{"temperature", -1}}, "temperature"},
      {{{"top_p", 2}}, "top_p"},
      {{{"min_p", true}}, "min_p"},
      {{{"top_k", -2}}, "top_k"},
      {{{"repetition_penalty", 0}}, "repetition_penalty"},
      {{{"presence_penalty", 3}}, "presence_penalty"},
      {{{"frequency_penalty", json::array()}}, "frequency_penalty"},
      {{{"seed", 1.5}}, "seed"},
      {{{"n", 0}}, "n"},
      {{{"n", 1000}}, "n"},
      {{{"best_of", 3}}, "best_of"},
      {{{"stop", 7}}, "stop"},
      {{{"stop", {"a", 1}}}, "stop"},
      {{{"stop", ""}}, "stop"},
      {{{"logprobs", 21}}, "logprobs"},
      {{{"logprobs", 1}, {"echo", true}}, "echo"},
      {{{"echo", 1}}, "echo"},
      {{{"stream", "yes"}}, "stream"},
      {{{"stream_options", {{"include_usage", true}}}}, "stream_options"},
      {{{"stream", true}, {"stream_options", {{"usage", true}}}}, "stream_options.usage"},
      {{{"suffix", "x"}}, "suffix"},
      {{{"logit_bias", {{"5", 1}}}}, "logit_bias"},
      {{{"temprature", 1}}, "temprature"},
      {{{"stop_token_ids", {-4}}}, "stop_token_ids"},
  };
  for (const auto& [body, field] : all) {
    const TestReply reply = complete(body);
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_EQ(reply.json()["error"]["param"], field) << reply.body;
  }
  EXPECT_NE(complete({{"temprature", 1}}).body.find("nearest: temperature"), std::string::npos);
  EXPECT_EQ(backend.live(), 0);
}

TEST_F(Completions, BodiesThatAreNoJsonAreRefused) {
  for (const std::string body : {"", "{", "[]", "3", "{\"prompt\": \"\xFF\"}", "{\"prompt\": \"\xED\xA0\x80\"}", "\xC3",
                                 "{\"prompt\": \"a\"} x"}) {
    TestClient one = client();
    one.post("/v1/completions", body);
    const TestReply reply = one.reply();
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_EQ(reply.json()["error"]["code"], "invalid_json");
  }
  TestClient deep = client();
  deep.post("/v1/completions", "{\"prompt\": " + std::string(100000, '[') + std::string(100000, ']') + "}");
  EXPECT_EQ(deep.reply().status, 400);
}

TEST_F(Completions, AnotherModelIsNotFound) {
  EXPECT_EQ(complete({{"model", "tiny"}}).status, 200);
  const TestReply reply = complete({{"model", "huge"}});
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(reply.json()["error"]["code"], "model_not_found");
}

TEST_F(Completions, PromptsThatDoNotFitAreRefused) {
  std::string words;
  for (int i = 0; i < 300; ++i) words += " word";
  const TestReply reply = complete({{"prompt", words}});
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(reply.json()["error"]["code"], "context_length_exceeded");
}

TEST_F(Completions, TroubleOfTheModelIsTold) {
  const std::pair<RequestOutcome, int> all[] = {
      {RequestOutcome::out_of_memory, 503}, {RequestOutcome::failed, 500}, {RequestOutcome::timed_out, 504}};
  for (const auto& [outcome, status] : all) {
    backend.trouble = outcome;
    EXPECT_EQ(complete({}).status, status);
    const auto events = complete({{"stream", true}}).events();
    EXPECT_TRUE(json::parse(events[events.size() - 2]).contains("error"));
    EXPECT_EQ(events.back(), "[DONE]");
  }
}

TEST_F(Completions, TokenizeAndDetokenizeGoBothWays) {
  const std::string text = "Grüße 🙂";
  const json tokens = post("/tokenize", {{"prompt", text}}).json();
  EXPECT_EQ(tokens["tokens"], json(model.tokenizer.encode(text)));
  EXPECT_EQ(tokens["count"], tokens["tokens"].size());
  EXPECT_EQ(tokens["max_model_len"], 256);
  EXPECT_EQ(post("/detokenize", {{"tokens", tokens["tokens"]}}).json()["prompt"], text);
  EXPECT_EQ(post("/detokenize", {{"tokens", {-1}}}).status, 400);
  EXPECT_EQ(post("/tokenize", json::object()).status, 400);
  EXPECT_GT(post("/tokenize", {{"messages", {{{"role", "user"}, {"content", "a"}}}}}).json()["count"], 5);
}

}  // namespace
}  // namespace braid
