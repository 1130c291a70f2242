// SPDX-License-Identifier: Apache-2.0
// The servers behind a front: which of them are up, what each has to do, and which one takes the next request. Each is
// asked for its /health again and again. On the server's thread alone.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "serve/upstream.h"

namespace braid {

struct Replica {
  std::string name;          // in messages, in the log and in /metrics
  UpstreamAddress address;   // no host: it is not known yet where it listens
  bool up = false;           // its /health is 200; one check that fails does not count
  int64_t memory_bytes = 0;  // that this told
  int64_t context = 0;       // tokens of a prompt and its answer
  // What has been given to it and has not ended, by the front's own estimate (serve/request_tokens.h).
  int64_t outstanding_tokens = 0, running = 0;
  int64_t requests = 0, lost = 0, restarts = 0;  // so far: given to it; of them cut off; starts but the first
};

struct ReplicaEvents {
  std::function<void(size_t replica)> up;      // it answers requests from now on
  std::function<void(size_t replica)> silent;  // it has answered no check for half a minute
};

class Replicas {
 public:
  // key: what replicas are asked with, "" for none.
  Replicas(boost::asio::io_context& loop, const std::vector<std::string>& names, std::string key, ReplicaEvents events);
  ~Replicas();
  void stop();  // checks no more

  void place(size_t replica, const UpstreamAddress& address);  // it listens there, and is checked from now on
  void forget(size_t replica);   // it has ended: it is not asked before it is placed again
  void suspect(size_t replica);  // it broke a connection: is checked now

  // The one with the fewest outstanding tokens of those that are up and not in `without`, of equals the one that has
  // been given the fewest requests; none: null.
  Replica* least_loaded(const std::vector<size_t>& without);
  size_t index_of(const Replica& replica) const { return static_cast<size_t>(&replica - all_.data()); }

  std::vector<Replica>& all() { return all_; }
  const std::vector<Replica>& all() const { return all_; }
  int64_t up() const;
  HttpHeaders headers(const std::string& request_id) const;  // that a replica is asked with
  boost::asio::io_context& loop() { return loop_; }

 private:
  struct Check {
    std::unique_ptr<boost::asio::steady_timer> timer;
    std::shared_ptr<Upstream> asking;
    Stopwatch silent;  // since it last answered a check
    int64_t misses = 0;  // checks without an answer, one after the other
    uint64_t placed = 0;  // how often: what was asked before is of no interest
  };

  void check_after(size_t replica, double seconds);
  void check(size_t replica);
  void checked(size_t replica, const HttpReply& reply, const std::string& problem);
  void ask_context(size_t replica);

  boost::asio::io_context& loop_;
  std::string key_;
  ReplicaEvents events_;
  std::vector<Replica> all_;
  std::vector<Check> checks_;
  bool stopped_ = false;
};

}  // namespace braid
