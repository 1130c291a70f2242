// SPDX-License-Identifier: Apache-2.0
// A service on its server: listens from the start, says that it loads until there is a model, and ends in order.
#pragma once

#include "serve/http_server.h"
#include "serve/service.h"

namespace braid {

class Serving {
 public:
  // Listens on host and port (0: a free one). UsageError: it cannot.
  Serving(const std::string& host, uint16_t port, const HttpLimits& limits, ServiceOptions options);
  ~Serving();

  uint16_t port() const { return server_.port(); }
  // The backend must live until stop().
  void be_ready(ServedModelPtr model, Backend& backend);  // requests that come from now on are answered

  // Takes no more generations, and waits for those under way; what has not ended after so many seconds is cancelled.
  // Whether all ended in time.
  bool drain(double seconds);
  void stop();  // ends every connection; nothing is asked of the backend from here on

 private:
  HttpServer server_;
  Service service_;
};

}  // namespace braid
