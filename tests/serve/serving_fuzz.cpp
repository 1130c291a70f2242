// SPDX-License-Identifier: Apache-2.0
// serving_fuzz REQUESTS SEED: requests that are nearly right, by the thousand, to a server with a scripted backend, half
// of them through a front.
// Built with the address and undefined-behaviour sanitizers. Whatever comes, a reply is one of HTTP's, an error's body
// is JSON, the server goes on, and no generation is left behind.
#include <cstdlib>
#include <iostream>
#include <random>

#include "fake_backend.h"
#include "http_client.h"
#include "serve/fronting.h"
#include "serve/serving.h"

namespace braid {
namespace {

using nlohmann::json;

const json& bodies() {
  static const json all = {
      {"/v1/completions",
       {{"prompt", "Hello world"},
        {"max_tokens", 5},
        {"stream", true},
        {"stream_options", {{"include_usage", true}}},
        {"logprobs", 2},
        {"n", 2},
        {"stop", {"x", "wor"}},
        {"seed", 7},
        {"temperature", 0.5},
        {"top_k", 3},
        {"min_p", 0.1}}},
      {"/v1/chat/completions",
       {{"messages",
         {{{"role", "system"}, {"content", "a"}},
          {{"role", "user"}, {"content", {{{"type", "text"}, {"text", "b"}}}}}}},
        {"max_completion_tokens", 5},
        {"logprobs", true},
        {"top_logprobs", 1},
        {"presence_penalty", 1}}},
      {"/execute",
       {{"job_id", "j"},
        {"prompt", "Hi 🙂"},
        {"max_tokens", 5},
        {"temperature", 1},
        {"seed", 1},
        {"top_p", 0.5},
        {"top_k", 4},
        {"repetition_penalty", 1.1},
        {"min_p", 0},
        {"stop", {"q"}}}},
      {"/tokenize", {{"prompt", "Grüße"}, {"add_special_tokens", false}}},
      {"/detokenize", {{"tokens", {1, 2, 3}}}},
  };
  return all;
}

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  size_t below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }
  bool once_in(size_t times) { return below(times) == 0; }

  std::string request() {
    auto chosen = bodies().items().begin();
    std::advance(chosen, below(bodies().size()));
    json body = chosen.value();
    if (!once_in(3)) change_value(body);
    std::string text = body.dump();
    if (once_in(3)) change_bytes(text);
    const bool chunked = once_in(6);
    const size_t length = once_in(12) ? below(2 * text.size()) : text.size();
    std::string head = "POST " + chosen.key() + " HTTP/1.1\r\nHost: a\r\nX-Request-Id: r\r\n";
    head += chunked ? "Transfer-Encoding: chunked\r\n\r\n" : str("Content-Length: ", length, "\r\n\r\n");
    if (once_in(8))
      head = "GET " + std::string(once_in(2) ? "/metrics" : "/v1/models/%74iny?a=%") + " HTTP/1.1\r\n\r\n";
    if (once_in(4)) change_bytes(head);
    return head + (chunked ? in_chunks(text) : text);
  }

 private:
  std::string in_chunks(const std::string& text) {
    std::ostringstream out;
    for (size_t at = 0; at < text.size();) {
      const size_t bytes = 1 + below(text.size() - at);
      out << std::hex << bytes << "\r\n" << text.substr(at, bytes) << "\r\n";
      at += bytes;
    }
    out << "0\r\n\r\n";
    return out.str();
  }

  json any_value() {
    const json values[] = {nullptr,
                           true,
                           false,
                           0,
                           -1,
                           1,
                           1e308,
                           -0.5,
                           18446744073709551615u,
                           -9223372036854775807 - 1,
                           "",
                           "x",
                           "\xF0\x9F\x99\x82",
                           json::array(),
                           json::object(),
                           {1, 2},
                           {"a", nullptr},
                           {{"type", "text"}},
                           std::string(3000, 'y'),
                           json::parse(std::string(60, '[') + std::string(60, ']'))};
    return values[below(std::size(values))];
  }

  // One value somewhere inside.
  void change_value(json& value) {
    if (!value.is_structured() || value.empty() || once_in(6)) {
      value = any_value();
      return;
    }
    auto inner = value.begin();
    std::advance(inner, below(value.size()));
    if (value.is_object() && once_in(6)) {
      value[inner.key() + "x"] = any_value();
      return;
    }
    change_value(*inner);
  }

  void change_bytes(std::string& text) {
    for (size_t times = 1 + below(4); times > 0 && !text.empty(); --times) {
      const size_t at = below(text.size());
      switch (below(4)) {
        case 0:
          text[at] = static_cast<char>(random_());
          break;
        case 1:
          text.erase(at, 1 + below(8));
          break;
        case 2:
          text.insert(at, text.substr(below(text.size()), below(20)));
          break;
        default:
          text.insert(at, 1 + below(3), "\0\r\n\"{}[]\\\xFF"[below(10)]);
      }
    }
  }

  std::mt19937_64 random_;
};

[[noreturn]] void fail(const std::string& problem, const std::string& request) {
  std::cerr << problem << "\n" << request << "\n";
  std::exit(1);
}

void check(const TestReply& reply, const std::string& request) {
  if (reply.status == 0) return;  // the server waits for more, or has ended a connection that made no sense
  if (reply.status < 100 || reply.status > 599) fail(str("status ", reply.status), request);
  if (reply.status == 500) fail("status 500: " + reply.body, request);
  if (reply.status >= 400 && !json::accept(reply.body)) fail("an error without JSON: " + reply.body, request);
}

void send_one(uint16_t port, Mutator& mutator) {
  const std::string request = mutator.request();
  TestClient client(port);
  client.send(mutator.once_in(10) ? request.substr(0, mutator.below(request.size())) : request);
  if (mutator.once_in(8)) return;  // gone
  if (mutator.once_in(2)) client.end_of_sending();
  try {
    check(client.reply(), request);
  } catch (const std::exception& problem) {
    fail(problem.what(), request);
  }
}

void require_well(uint16_t port) {
  TestClient last(port);
  last.get("/health");
  if (last.reply().status != 200) fail("the server is not well", "GET /health");
}

// Returns once the replica is up.
std::unique_ptr<Fronting> front_before(const Serving& replica, const HttpLimits& limits) {
  auto fronting = std::make_unique<Fronting>("127.0.0.1", 0, limits, FrontOptions{{}, {}, {"0"}, "", {}});
  fronting->front().place(0, {"127.0.0.1", std::to_string(replica.port())});
  for (TestReply health; health.status != 200;) {
    TestClient asking(fronting->port());
    asking.get("/health");
    health = asking.reply();
  }
  return fronting;
}

int fuzz(size_t requests, uint64_t seed) {
  const ServedModel model = test_model();
  FakeBackend backend(model.tokenizer);
  backend.step_microseconds = 50;
  HttpLimits limits;
  limits.request_seconds = limits.idle_seconds = 0.05;
  Serving serving("127.0.0.1", 0, limits, {}), replica("127.0.0.1", 0, HttpLimits(), {});
  for (Serving* one : {&serving, &replica}) one->be_ready(std::make_shared<const ServedModel>(model), backend);
  const auto fronting = front_before(replica, limits);
  Mutator mutator(seed);
  for (size_t i = 0; i < requests; ++i) send_one(i % 2 ? serving.port() : fronting->port(), mutator);
  require_well(serving.port());
  require_well(fronting->port());
  fronting->drain(10);
  for (Serving* one : {&serving, &replica}) one->drain(10);
  if (backend.live() != 0) fail(str(backend.live(), " generations were left behind"), "");
  fronting->stop();
  for (Serving* one : {&serving, &replica}) one->stop();
  backend.stop();
  std::cout << requests << " requests\n";
  return 0;
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  return braid::fuzz(std::strtoull(argv[1], nullptr, 10), std::strtoull(argv[2], nullptr, 10));
}
