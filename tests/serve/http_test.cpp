// SPDX-License-Identifier: Apache-2.0
// What the server makes of clients that are wrong, large, slow or gone.
#include <netinet/tcp.h>

#include "serving_fixture.h"

namespace braid {
namespace {

using nlohmann::json;

class Http : public Served {
 protected:
  TestReply answer_to(const std::string& bytes, bool ends = false) {
    TestClient one = client();
    one.send(bytes);
    if (ends) one.end_of_sending();
    return one.reply();
  }
};

TEST_F(Http, KeepsAConnection) {
  begin();
  TestClient one = client();
  for (int i = 0; i < 3; ++i) {
    one.get("/v1/models");
    EXPECT_EQ(one.reply().status, 200);
    one.post("/v1/completions", json{{"prompt", "a"}, {"stream", true}});
    EXPECT_EQ(one.reply().status, 200);
  }
  one.get("/health", "Connection: close\r\n");
  EXPECT_EQ(one.reply().headers["connection"], "close");
  EXPECT_TRUE(one.ended());
}

TEST_F(Http, AnswersRequestsThatComeTogetherInTheirOrder) {
  begin();
  TestClient one = client();
  one.post("/v1/completions", json{{"prompt", "a"}}, "X-Request-Id: first\r\n");
  one.get("/health", "X-Request-Id: second\r\n");
  one.get("/v1/models", "X-Request-Id: third\r\n");
  for (const char* id : {"first", "second", "third"}) EXPECT_EQ(one.reply().headers["x-request-id"], id);
}

TEST_F(Http, SpeaksTheOldVersionToo) {
  begin();
  const TestReply whole = answer_to("GET /health HTTP/1.0\r\n\r\n");
  EXPECT_EQ(whole.status, 200);
  TestClient one = client();
  const std::string body = R"({"prompt": "a", "stream": true})";
  one.send(str("POST /v1/completions HTTP/1.0\r\nContent-Length: ", body.size(), "\r\n\r\n", body));
  EXPECT_TRUE(one.ended());
  EXPECT_EQ(one.held().find("chunked"), std::string::npos);
  EXPECT_TRUE(one.held().ends_with("data: [DONE]\n\n"));
}

TEST_F(Http, TellsTheHeadAlone) {
  begin();
  TestClient one = client();
  one.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
  const TestReply reply = one.reply(false);
  EXPECT_EQ(reply.status, 200);
  EXPECT_GT(std::stoi(reply.headers.at("content-length")), 1000);
  EXPECT_EQ(one.held(), "");
}

TEST_F(Http, AsksForABodyThatWaits) {
  begin();
  TestClient one = client();
  const std::string body = R"({"prompt": "a"})";
  one.send(str("POST /v1/completions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: ", body.size(), "\r\n\r\n"));
  ASSERT_TRUE(one.wait_for("\r\n\r\n"));
  EXPECT_EQ(one.reply(false).status, 100);
  one.send(body);
  EXPECT_EQ(one.reply().status, 200);
}

TEST_F(Http, RefusesWhatIsNoRequest) {
  begin();
  const std::string wrong[] = {"hello\r\n\r\n",
                               "GET\r\n\r\n",
                               "GET / HTTP/9.9\r\n\r\n",
                               "GET / HTTP/1.1\r\nno colon\r\n\r\n",
                               "GET / HTTP/1.1\r\nbad name : x\r\n\r\n",
                               "POST /tokenize HTTP/1.1\r\nContent-Length: many\r\n\r\n",
                               "POST /tokenize HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                               "POST /tokenize HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                               "POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                               std::string("\0\1\2\3\r\n\r\n", 8)};
  for (const std::string& bytes : wrong) {
    const TestReply reply = answer_to(bytes);
    EXPECT_EQ(reply.status, 400) << bytes;
    EXPECT_EQ(reply.headers.at("connection"), "close");
  }
}

TEST_F(Http, RefusesBodiesThatAreCutShort) {
  begin();
  EXPECT_EQ(answer_to("POST /v1/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{\"prompt\"", true).status, 400);
}

TEST_F(Http, HasLimitsOnHeadersAndBodies) {
  limits.body_bytes = 1000;
  begin();
  EXPECT_EQ(answer_to("GET / HTTP/1.1\r\nX: " + std::string(100000, 'x') + "\r\n\r\n").status, 431);
  EXPECT_EQ(answer_to("GET /" + std::string(100000, 'x') + " HTTP/1.1\r\n\r\n").status, 431);
  const TestReply large = post("/v1/completions", {{"prompt", std::string(2000, 'x')}});
  EXPECT_EQ(large.status, 413);
  EXPECT_NE(large.body.find("more than 1000 bytes"), std::string::npos);
  EXPECT_EQ(answer_to("POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n500\r\n" + std::string(0x500, 'x') +
                      "\r\n")
                .status,
            413);
}

TEST_F(Http, EndsConnectionsThatAreSlowOrIdle) {
  limits.idle_seconds = limits.request_seconds = 0.1;
  begin();
  TestClient idle = client(), slow = client();
  slow.send("POST /tokenize HTTP/1.1\r\nContent-");
  EXPECT_EQ(slow.reply().status, 408);
  EXPECT_TRUE(idle.ended());
  EXPECT_EQ(idle.held(), "");
}

TEST_F(Http, HasALimitOnConnections) {
  limits.connections = 3;
  begin();
  std::vector<TestClient> all;
  for (int i = 0; i < 3; ++i) {
    all.push_back(client());
    all.back().get("/health");
    EXPECT_EQ(all.back().reply().status, 200);
  }
  EXPECT_EQ(client().reply().status, 503);
  all.clear();
  EXPECT_TRUE(soon([&] { return get("/health").status == 200; }));
}

TEST_F(Http, DropsAClientThatDoesNotRead) {
  limits.outgoing_bytes = 10000;
  backend.step_microseconds = 20;
  model.context = 1000000;
  begin();
  TestClient lazy = client(2000), keen = client();
  const json much = {{"prompt", "Hello world"}, {"max_tokens", 200000}, {"stream", true}};
  lazy.post("/v1/completions", much);
  keen.post("/v1/completions", json{{"prompt", "a b c"}, {"max_tokens", 300}, {"stream", true}});
  EXPECT_EQ(keen.reply().events().back(), "[DONE]");
  EXPECT_TRUE(soon([&] { return backend.live() == 0; }, 60));
  EXPECT_EQ(metric("braid_dropped_clients_total"), 1);
}

TEST_F(Http, UnknownPathsAndMethodsAreTold) {
  begin();
  EXPECT_EQ(get("/v2/completions").status, 404);
  EXPECT_EQ(get("/v1/completions").status, 405);
  EXPECT_EQ(get("/v1/completions").headers["allow"], "POST");
  EXPECT_EQ(post("/health", json::object()).status, 405);
  EXPECT_EQ(get("/v1/models/tiny?x=1").json()["id"], "tiny");
  EXPECT_EQ(get("/v1/models/%74iny").json()["id"], "tiny");
  EXPECT_EQ(get("/v1/models/other").status, 404);
  EXPECT_EQ(get("/v1/models").json()["data"][0]["id"], "tiny");
}

TEST_F(Http, KeysAreRequired) {
  options.keys = ApiKeys({"alpha", "beta"});
  begin();
  for (const char* path : {"/v1/models", "/metrics"}) {
    EXPECT_EQ(get(path).status, 401);
    EXPECT_EQ(get(path, "Authorization: Bearer gamma\r\n").status, 401);
    EXPECT_EQ(get(path, "Authorization: Bearer alph\r\n").status, 401);
    EXPECT_EQ(get(path, "Authorization: Basic alpha\r\n").status, 401);
    EXPECT_EQ(get(path, "Authorization: Bearer beta\r\n").status, 200);
  }
  EXPECT_EQ(post("/v1/completions", {{"prompt", "a"}}).json()["error"]["code"], "invalid_api_key");
  EXPECT_EQ(post("/v1/completions", {{"prompt", "a"}}, "Authorization: bearer alpha\r\n").status, 200);
  EXPECT_EQ(get("/health").status, 200);
  EXPECT_EQ(get("/").status, 200);
}

TEST_F(Http, ThePageAsksForNothingFromElsewhere) {
  begin();
  const TestReply page = get("/");
  EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_NE(page.body.find("<html lang=\"en\">"), std::string::npos);
  for (const char* elsewhere : {"http://", "https://", "//cdn", "@import", "src="}) {
    EXPECT_EQ(page.body.find(elsewhere), std::string::npos) << elsewhere;
  }
}

TEST_F(Http, RequestIdsGoInAndOutAndIntoTheLog) {
  begin();
  TestClient one = client();
  one.post("/v1/completions", json{{"prompt", "Hello"}, {"max_tokens", 4}}, "X-Request-Id: abc-1\r\n");
  const TestReply reply = one.reply();
  EXPECT_EQ(reply.headers.at("x-request-id"), "abc-1");
  EXPECT_EQ(reply.json()["id"], "cmpl-abc-1");
  EXPECT_EQ(get("/health").headers.at("x-request-id").size(), 16u);
  serving->stop();
  const json line = json::parse(log.str().substr(0, log.str().find('\n')));
  EXPECT_EQ(line["request_id"], "abc-1");
  EXPECT_EQ(line["path"], "/v1/completions");
  EXPECT_EQ(line["status"], 200);
  EXPECT_EQ(line["tokens"], 4);
  EXPECT_EQ(line["outcome"], "length");
  EXPECT_GT(line["first_token_seconds"], 0);
  EXPECT_EQ(log.str().find("Hello"), std::string::npos);
}

TEST_F(Http, APortThatIsTakenIsRefused) {
  begin();
  EXPECT_THROW(Serving("127.0.0.1", serving->port(), limits, {}), UsageError);
  EXPECT_THROW(Serving("no.such.host.invalid", 0, limits, {}), UsageError);
}

}  // namespace
}  // namespace braid
