// SPDX-License-Identifier: Apache-2.0
// A front on its server: listens from the start, says that it loads until a replica is ready, and ends in order.
#pragma once

#include "serve/front.h"

namespace braid {

class Fronting {
 public:
  // Listens on host and port (0: a free one). UsageError: it cannot.
  Fronting(const std::string& host, uint16_t port, const HttpLimits& limits, FrontOptions options);
  ~Fronting();

  uint16_t port() const { return server_.port(); }
  Front& front() { return front_; }

  // As Serving's; the replicas must live until then.
  bool drain(double seconds);
  void stop();

 private:
  HttpServer server_;
  Front front_;
};

}  // namespace braid
