// SPDX-License-Identifier: Apache-2.0
#include "serve/routes.h"

#include <algorithm>

#include "base/error.h"
#include "serve/refusal.h"
#include "serve/worker_request.h"

namespace braid {

namespace {

bool stands_for(const std::string& route, const std::string& path) {
  return route.size() > 1 && route.back() == '/' ? path.starts_with(route) : path == route;
}

}  // namespace

Routes::Routes(std::vector<Route> all, ApiKeys keys, AccessLog log, ReplyCounts& counts)
    : all_(std::move(all)), keys_(std::move(keys)), log_(log), counts_(counts) {}

const Route* Routes::find(const std::string& path) const {
  const auto found = std::find_if(all_.begin(), all_.end(), [&](const Route& one) { return stands_for(one.path, path); });
  return found == all_.end() ? nullptr : &*found;
}

std::string Routes::request_id(const HttpRequest& request) {
  if (is_plain_token(request.request_id)) return request.request_id;
  static const char* digits = "0123456789abcdef";
  std::string id;
  for (uint64_t bits = random_(), i = 0; i < 16; ++i, bits >>= 4) id += digits[bits & 15];
  return id;
}

void Routes::answer(const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
  const Route* route = find(request.path);
  AccessRecord record;
  record.request_id = request_id(request);
  record.client = request.client;
  record.method = request.method;
  record.path = request.path;
  const auto call =
      std::make_shared<Call>(std::move(exchange), std::move(record), route ? route->path : "unknown", counts_, log_);
  call->begin();
  call->attempt([&] {
    if (!route) throw Refusal(404, str("no such path: ", request.path), "", "unknown_url");
    run(*route, request, call);
  });
}

void Routes::run(const Route& route, const HttpRequest& request, const std::shared_ptr<Call>& call) const {
  const bool head = request.method == "HEAD" && route.method == "GET";
  if (request.method != route.method && !head) {
    const Refusal refusal(405, str(request.path, ": expected ", route.method, ", found ", request.method), "",
                          "method_not_allowed");
    HttpReply reply = refused_reply(request.path, refusal);
    reply.headers.emplace_back("Allow", route.method);
    call->record.message = refusal.what();
    return call->reply(std::move(reply));
  }
  if (!route.open && !keys_.admits(request.authorization)) {
    throw Refusal(401, "expected a field Authorization: Bearer KEY with a key that is known here", "",
                  "invalid_api_key");
  }
  route.act(request, call);
}

HttpReply unread_reply(int status, const std::string& message) { return reply_of({status, message, "", ""}); }

}  // namespace braid
