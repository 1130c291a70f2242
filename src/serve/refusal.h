// SPDX-License-Identifier: Apache-2.0
// Requests that cannot be answered, as OpenAI's API tells of them (its guide "Error codes").
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>

#include "serve/http_message.h"

namespace braid {

struct Refusal : std::runtime_error {
  // param: the field of the request that is wrong, "" for none; code: one word for programs, "" for none.
  Refusal(int status, const std::string& message, std::string param = "", std::string code = "")
      : std::runtime_error(message), status(status), param(std::move(param)), code(std::move(code)) {}

  int status;
  std::string param, code;
};

Refusal out_of_memory_refusal();

// {"error": {"message", "type", "param", "code"}}
nlohmann::ordered_json error_object(const Refusal& refusal);
HttpReply reply_of(const Refusal& refusal);  // with Retry-After where trying again may help

// JSON on one line. What is no UTF-8 becomes U+FFFD.
std::string json_text(const nlohmann::ordered_json& value);
HttpReply json_reply(const nlohmann::ordered_json& value, int status = 200);

}  // namespace braid
