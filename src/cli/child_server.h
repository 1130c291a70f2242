// SPDX-License-Identifier: Apache-2.0
// braid serve as a process of its own, for the time that this lives.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "cli/replica_process.h"

namespace braid {

class ChildServer {
 public:
  // Starts this program as `braid serve` with these words and waits until it is ready. Its standard error is this
  // process's. Error: it ended first.
  explicit ChildServer(const std::vector<std::string>& words);
  ~ChildServer();  // tells it to stop, and waits for its end
  ChildServer(const ChildServer&) = delete;
  ChildServer& operator=(const ChildServer&) = delete;

  const std::string& url() const { return url_; }
  double load_seconds() const { return load_seconds_; }  // until it was ready

 private:
  void wait_until_ready();

  Stopwatch watch_;
  ReplicaProcess process_;
  std::string url_;
  double load_seconds_ = 0;
};

}  // namespace braid
