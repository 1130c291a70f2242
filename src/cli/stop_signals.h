// SPDX-License-Identifier: Apache-2.0
// SIGTERM, SIGINT and SIGUSR1 for a program that serves: a thread waits for them, no handler runs anywhere
// (train/stop_request.h tells why threads that compute must not be interrupted).
#pragma once

#include <atomic>
#include <thread>

namespace braid {

class StopSignals {
 public:
  // Made before any other thread, whose signals it holds back.
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // Until then a signal ends the program at once, as done: there is nothing yet that could be lost. Afterwards the
  // first one is kept for the program, and the second ends it.
  void begin_to_keep() { keeps_ = true; }
  bool came() const { return came_; }

 private:
  void take();

  std::atomic<bool> keeps_ = false, came_ = false;
  std::jthread thread_;
};

}  // namespace braid
