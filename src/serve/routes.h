// SPDX-License-Identifier: Apache-2.0
// Which paths a server has, who may ask them, and how it is told what is wrong with a request.
#pragma once

#include <random>
#include <vector>

#include "serve/api_keys.h"
#include "serve/call.h"

namespace braid {

struct Route {
  std::string path;  // one that ends in "/", but "/" itself, stands for all below it
  std::string method;
  bool open = false;  // without a key
  // May throw Refusal, and whatever else goes wrong.
  std::function<void(const HttpRequest& request, const std::shared_ptr<Call>& call)> act;
};

// On the server's thread alone.
class Routes {
 public:
  // counts must outlive every call.
  Routes(std::vector<Route> all, ApiKeys keys, AccessLog log, ReplyCounts& counts);
  void answer(const HttpRequest& request, std::shared_ptr<Exchange> exchange);

 private:
  const Route* find(const std::string& path) const;
  void run(const Route& route, const HttpRequest& request, const std::shared_ptr<Call>& call) const;
  std::string request_id(const HttpRequest& request);

  std::vector<Route> all_;
  ApiKeys keys_;
  AccessLog log_;
  ReplyCounts& counts_;
  std::mt19937_64 random_{std::random_device{}()};
};

// What a request is told that could not be read.
HttpReply unread_reply(int status, const std::string& message);

}  // namespace braid
