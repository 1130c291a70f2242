// SPDX-License-Identifier: Apache-2.0
// A request of this server to another one, over HTTP/1.1. The reply is told as it comes. On the server's thread alone.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "serve/http_message.h"

namespace boost::asio {
class io_context;
}

namespace braid {

struct UpstreamAddress {
  std::string host, port;  // "" until it is known
};
// Of http://HOST:PORT, with nothing behind it. UsageError names the option.
UpstreamAddress parse_upstream_url(const std::string& option, const std::string& url);

struct UpstreamRequest {
  std::string method, target;  // "POST", "/v1/completions"
  HttpHeaders headers;
  std::string body;
};

// One call of on_head, then pieces, and at last one of on_end; on_end alone where nothing came.
struct UpstreamHandlers {
  std::function<void(const HttpReply& head)> on_head;  // without a body
  std::function<void(std::string piece)> on_piece;
  std::function<void(const std::string& problem)> on_end;  // "": the reply is complete
};

// on_end's problem where this process had no memory: nothing is known of the other one.
constexpr const char* upstream_out_of_memory = "out of memory";

class Upstream {
 public:
  virtual ~Upstream() = default;
  virtual void close() = 0;  // ends the connection; no handler is called from here on
};

// Connecting may take 5 s. all_seconds: how long everything together may take; 0: any time once connected.
std::shared_ptr<Upstream> ask_upstream(boost::asio::io_context& loop, const UpstreamAddress& address,
                                       const UpstreamRequest& request, UpstreamHandlers handlers,
                                       double all_seconds = 0);

}  // namespace braid
