// SPDX-License-Identifier: Apache-2.0
#include "serve/fronting.h"

#include "serve/draining.h"

namespace braid {

Fronting::Fronting(const std::string& host, uint16_t port, const HttpLimits& limits, FrontOptions options)
    : server_(host, port, limits,
              {[this](const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
                 front_.answer(request, std::move(exchange));
               },
               unread_reply}),
      front_(
          std::move(options), server_.loop(), [this](std::function<void()> act) { server_.post(std::move(act)); },
          [this] { return server_.counts(); }) {
  server_.start();
}

Fronting::~Fronting() { stop(); }

bool Fronting::drain(double seconds) {
  front_.drain();
  return braid::drain(server_, [this] { return front_.running(); }, seconds, [this] { front_.cancel_all(); });
}

void Fronting::stop() {
  server_.post([this] { front_.stop(); });
  server_.stop();
}

}  // namespace braid
