// SPDX-License-Identifier: Apache-2.0
#include "serve/draining.h"

#include <chrono>
#include <thread>

#include "base/clock.h"

namespace braid {

namespace {

constexpr double cancel_seconds = 10;  // for what was cancelled to end and be told

bool wait_until_idle(const HttpServer& server, const std::function<int64_t()>& running, double seconds) {
  const Stopwatch watch;
  while (running() > 0 || server.counts().answering > 0) {
    if (watch.seconds() > seconds) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

}  // namespace

bool drain(HttpServer& server, const std::function<int64_t()>& running, double seconds,
           const std::function<void()>& cancel_all) {
  server.drain();
  if (wait_until_idle(server, running, seconds)) return true;
  cancel_all();
  wait_until_idle(server, running, cancel_seconds);
  return false;
}

}  // namespace braid
