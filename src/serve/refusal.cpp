// SPDX-License-Identifier: Apache-2.0
#include "serve/refusal.h"

#include <nlohmann/json.hpp>

namespace braid {

namespace {

using nlohmann::ordered_json;

const char* type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

ordered_json text_or_null(const std::string& text) { return text.empty() ? ordered_json(nullptr) : ordered_json(text); }

}  // namespace

Refusal out_of_memory_refusal() { return {503, "out of memory", "", "out_of_memory"}; }

ordered_json error_object(const Refusal& refusal) {
  return {{"error",
           {{"message", refusal.what()},
            {"type", type_of(refusal.status)},
            {"param", text_or_null(refusal.param)},
            {"code", text_or_null(refusal.code)}}}};
}

HttpReply reply_of(const Refusal& refusal) {
  HttpReply reply = json_reply(error_object(refusal), refusal.status);
  if (refusal.status == 429) reply.headers.emplace_back("Retry-After", "1");
  if (refusal.status == 503) reply.headers.emplace_back("Retry-After", "5");
  if (refusal.status == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  return reply;
}

std::string json_text(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

HttpReply json_reply(const ordered_json& value, int status) {
  return {status, json_text(value), "application/json", {}};
}

}  // namespace braid
