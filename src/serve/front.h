// SPDX-License-Identifier: Apache-2.0
// One address for several servers of the same model: shares requests out by outstanding tokens, moves those that a lost
// replica had not begun to answer, and tells of all in one /health and /metrics. It knows no model itself.
#pragma once

#include <atomic>
#include <unordered_set>

#include "serve/http_server.h"
#include "serve/relay.h"
#include "serve/routes.h"
#include "serve/work_queue.h"

namespace braid {

struct FrontOptions {
  ApiKeys keys;
  AccessLog log;
  std::vector<std::string> replicas;  // names
  std::string replica_key;            // that they are asked with, "" for none
  ReplicaEvents events;               // on the server's thread; may be empty
};

class Front {
 public:
  // loop is the server's; counts tells what the server has counted.
  Front(FrontOptions options, boost::asio::io_context& loop, Poster post, std::function<HttpCounts()> counts);
  ~Front();

  // On the server's thread.
  void answer(const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
    routes_.answer(request, std::move(exchange));
  }

  // From any thread.
  void place(size_t replica, const UpstreamAddress& address);  // it listens there now
  void lost(size_t replica);                                   // it has ended
  void restarted(size_t replica);                              // for /metrics
  void drain();                                                // new requests are refused
  void cancel_all();                                           // those that still run
  int64_t running() const { return running_; }
  int64_t memory_bytes();  // of all replicas; waits for the server's thread
  void stop();  // asks replicas nothing more; on the server's thread or after it

 private:
  std::vector<Route> routes();
  HttpReply health() const;
  void tell_metrics(const std::shared_ptr<Call>& call);
  std::string own_metrics() const;
  void pass_on(const HttpRequest& request, const std::shared_ptr<Call>& call);
  void start(const std::shared_ptr<Call>& call, UpstreamRequest request, RequestTokens tokens);
  void lose_requests(size_t replica);

  Poster post_;
  std::function<HttpCounts()> counts_;
  ReplyCounts replies_;
  Replicas replicas_;
  bool draining_ = false;
  std::atomic<int64_t> running_ = 0;
  std::unordered_set<std::shared_ptr<Relay>> relays_;
  Routes routes_;
  WorkQueue work_;  // reads bodies
};

}  // namespace braid
