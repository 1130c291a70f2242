// SPDX-License-Identifier: Apache-2.0
// An HTTP/1.1 server on one thread: keep-alive, limits on everything a client can make large or slow, replies that are
// streamed piece by piece. It knows nothing of what is served.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "serve/exchange.h"

namespace boost::asio {
class io_context;
}

namespace braid {

struct HttpLimits {
  size_t header_bytes = 16 << 10, body_bytes = 4 << 20;
  size_t outgoing_bytes = 1 << 20;  // of a stream that wait for a client to read them
  size_t connections = 1024;
  double idle_seconds = 75;     // between requests
  double request_seconds = 30;  // for a request to arrive
  double stall_seconds = 30;    // without any byte taken by the client
};

struct HttpHandlers {
  // Answers a request, now or later.
  std::function<void(const HttpRequest& request, std::shared_ptr<Exchange> exchange)> answer;
  // What is told to a client whose request cannot be read; the status says why.
  std::function<HttpReply(int status, const std::string& message)> refuse;
};

struct HttpCounts {
  int64_t connections = 0;  // open ones
  int64_t answering = 0;    // of them those whose request is being answered
  int64_t dropped = 0;      // clients so far that did not read
};

class HttpServer {
 public:
  // Listens; port 0 takes a free one. UsageError: no such address, or the port is taken.
  HttpServer(const std::string& host, uint16_t port, const HttpLimits& limits, HttpHandlers handlers);
  ~HttpServer();  // stops
  void start();   // answers from here on; connections made before wait for it

  uint16_t port() const;
  void post(std::function<void()> act);  // on the server's thread; from any thread
  boost::asio::io_context& loop();       // of the server's thread, for what asks others there
  HttpCounts counts() const;             // from any thread
  void drain();                          // connections end with the reply under way; idle ones end now
  void stop();                           // ends all of them and the thread

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace braid
