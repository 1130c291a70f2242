// SPDX-License-Identifier: Apache-2.0
#include "serve/serving.h"

#include <chrono>
#include <future>
#include <thread>

#include "base/clock.h"

namespace braid {

namespace {

constexpr double cancel_seconds = 10;  // for what was cancelled to end and be told

}  // namespace

Serving::Serving(const std::string& host, uint16_t port, const HttpLimits& limits, ServiceOptions options)
    : server_(host, port, limits,
              {[this](const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
                 service_.answer(request, std::move(exchange));
               },
               refused_reply}),
      service_(
          std::move(options), [this](std::function<void()> act) { server_.post(std::move(act)); },
          [this] { return server_.counts(); }) {
  server_.start();
}

Serving::~Serving() { stop(); }

void Serving::be_ready(ServedModelPtr model, Backend& backend) {
  service_.be_ready(std::move(model), backend);
  std::promise<void> done;
  server_.post([&done] { done.set_value(); });
  done.get_future().wait();
}

bool Serving::wait_until_idle(double seconds) const {
  const Stopwatch watch;
  while (service_.running() > 0 || server_.counts().answering > 0) {
    if (watch.seconds() > seconds) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

bool Serving::drain(double seconds) {
  service_.drain();
  server_.drain();
  if (wait_until_idle(seconds)) return true;
  service_.cancel_all();
  wait_until_idle(cancel_seconds);
  return false;
}

void Serving::stop() { server_.stop(); }

}  // namespace braid
