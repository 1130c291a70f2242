// SPDX-License-Identifier: Apache-2.0
// What the server's routes do: OpenAI's, the public worker's, Prometheus', the page.
#pragma once

#include <atomic>
#include <unordered_set>
#include <variant>

#include "serve/answering.h"
#include "serve/metrics.h"
#include "serve/prompt.h"
#include "serve/routes.h"
#include "serve/work_queue.h"

namespace braid {

struct ServiceOptions {
  ApiKeys keys;
  RequestLimits limits;
  double timeout_seconds = 0;  // of an answer; 0: none
  AccessLog log;
};

class Service {
 public:
  // counts tells what the server has counted, from any thread.
  Service(ServiceOptions options, Poster post, std::function<HttpCounts()> counts);
  ~Service();

  // On the server's thread.
  void answer(const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
    routes_.answer(request, std::move(exchange));
  }

  // From any thread. The backend must outlive the server's thread.
  void be_ready(ServedModelPtr model, Backend& backend);
  void drain();                                 // new generations are refused
  void cancel_all();                            // those that still run
  int64_t running() const { return running_; }  // requests whose answers have not all ended

 private:
  using Plan = std::variant<HttpReply, Generation>;

  std::vector<Route> routes();
  void require_ready() const;  // Refusal
  HttpReply health() const;
  HttpReply metrics_reply() const;
  void generate(const HttpRequest& request, const std::shared_ptr<Call>& call);
  void follow(const std::shared_ptr<Call>& call, Plan& plan);
  void start(const std::shared_ptr<Call>& call, Generation generation);

  RequestLimits limits_;
  double timeout_seconds_;
  Poster post_;
  std::function<HttpCounts()> counts_;
  Metrics metrics_;
  ServedModelPtr model_;
  Backend* backend_ = nullptr;
  bool draining_ = false;
  std::atomic<int64_t> running_ = 0;
  std::unordered_set<std::shared_ptr<Answering>> answerings_;
  Routes routes_;
  WorkQueue work_;  // reads bodies, so that tokens of others go on meanwhile
};

}  // namespace braid
