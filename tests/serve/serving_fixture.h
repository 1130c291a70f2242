// SPDX-License-Identifier: Apache-2.0
// A server with a scripted backend, and requests to it.
#pragma once

#include <gtest/gtest.h>

#include <sstream>

#include "fake_backend.h"
#include "http_client.h"
#include "serve/serving.h"

namespace braid {

template <class Condition>
bool soon(const Condition& condition, double seconds = 10) {
  for (const Stopwatch watch; watch.seconds() < seconds;) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return condition();
}

class Served : public testing::Test {
 protected:
  ~Served() override {
    if (serving) serving->stop();
    backend.stop();
  }

  void begin(bool ready = true) {
    options.log = AccessLog(log);
    serving.emplace("127.0.0.1", 0, limits, std::move(options));
    if (ready) serving->be_ready(std::make_shared<const ServedModel>(model), backend);
  }

  TestClient client(int receive_bytes = 0) const { return TestClient(serving->port(), receive_bytes); }

  TestReply post(const std::string& path, const nlohmann::json& body, const std::string& headers = "") const {
    return post_to(serving->port(), path, body, headers);
  }
  TestReply get(const std::string& path, const std::string& headers = "") const {
    return get_from(serving->port(), path, headers);
  }
  TestReply complete(const nlohmann::json& more) const {
    nlohmann::json body = {{"prompt", "Hello world"}, {"max_tokens", 8}};
    if (!more.is_null()) body.update(more);
    return post("/v1/completions", body);
  }

  // The value of a sample as /metrics tells it.
  double metric(const std::string& name) const {
    const std::string text = get("/metrics").body;
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  }

  ServedModel model = test_model();
  FakeBackend backend{model.tokenizer};
  HttpLimits limits;
  ServiceOptions options;
  std::ostringstream log;
  std::optional<Serving> serving;
};

}  // namespace braid
