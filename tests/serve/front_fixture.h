// SPDX-License-Identifier: Apache-2.0
// A front before servers with scripted backends, and requests to it.
#pragma once

#include "serve/fronting.h"
#include "serving_fixture.h"

namespace braid {

// A replica. Its process is killed by stop(): every connection ends.
struct Behind {
  explicit Behind(const ServedModel& served) : model(served), backend(model.tokenizer) {}
  ~Behind() {
    stop();
    backend.stop();
  }

  void start(ServiceOptions options = {}) {
    options.log = AccessLog(log);
    serving = std::make_unique<Serving>("127.0.0.1", 0, HttpLimits(), std::move(options));
    serving->be_ready(std::make_shared<const ServedModel>(model), backend);
  }
  void stop() {
    if (serving) serving->stop();
  }
  UpstreamAddress address() const { return {"127.0.0.1", std::to_string(serving->port())}; }

  ServedModel model;
  FakeBackend backend;
  std::ostringstream log;
  std::unique_ptr<Serving> serving;
};

class Fronted : public testing::Test {
 protected:
  ~Fronted() override {
    if (fronting) fronting->stop();
  }

  // A front before so many replicas, of which the first `placed` are there.
  void begin(size_t count, size_t placed) {
    options.log = AccessLog(log);
    for (size_t i = 0; i < count; ++i) {
      replicas.push_back(std::make_unique<Behind>(model));
      options.replicas.push_back(std::to_string(i));
    }
    fronting = std::make_unique<Fronting>("127.0.0.1", 0, HttpLimits(), std::move(options));
    for (size_t i = 0; i < placed; ++i) place(i);
  }
  void begin(size_t count) { begin(count, count); }

  void place(size_t replica) {
    ServiceOptions own;
    own.keys = replica_keys;
    replicas[replica]->start(std::move(own));
    fronting->front().place(replica, replicas[replica]->address());
    ASSERT_TRUE(is_up(replica, true));
  }
  bool is_up(size_t replica, bool up) {
    return soon([&] { return health(replica)["status"] == (up ? "healthy" : "not ready"); });
  }
  nlohmann::json health(size_t replica) const { return get("/health").json()["replicas"][replica]; }
  FakeBackend& backend(size_t replica) { return replicas[replica]->backend; }

  TestClient client() const { return TestClient(fronting->port()); }
  TestReply post(const std::string& path, const nlohmann::json& body, const std::string& headers = "") const {
    return post_to(fronting->port(), path, body, headers);
  }
  TestReply get(const std::string& path, const std::string& headers = "") const {
    return get_from(fronting->port(), path, headers);
  }

  ServedModel model = test_model();
  std::vector<std::unique_ptr<Behind>> replicas;
  ApiKeys replica_keys;
  FrontOptions options;
  std::ostringstream log;
  std::unique_ptr<Fronting> fronting;
};

}  // namespace braid
