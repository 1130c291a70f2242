// SPDX-License-Identifier: Apache-2.0
#include "serve/serving.h"

#include <future>

#include "serve/draining.h"

namespace braid {

Serving::Serving(const std::string& host, uint16_t port, const HttpLimits& limits, ServiceOptions options)
    : server_(host, port, limits,
              {[this](const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
                 service_.answer(request, std::move(exchange));
               },
               unread_reply}),
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

bool Serving::drain(double seconds) {
  service_.drain();
  return braid::drain(server_, [this] { return service_.running(); }, seconds, [this] { service_.cancel_all(); });
}

void Serving::stop() { server_.stop(); }

}  // namespace braid
