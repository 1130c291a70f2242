// SPDX-License-Identifier: Apache-2.0
// /execute of the public worker (llm-worker-rbee): what it takes, all that is wrong with it at once, and its events
// started, token, metrics, end and error.
#pragma once

#include <variant>

#include "serve/answering.h"
#include "serve/prompt.h"

namespace braid {

// The generation that a body asks for, or 400 {"errors": [{"field", "constraint", "message", "value"}]}; a prompt is
// never told back. `memory_bytes` is what its events say of the device's memory.
std::variant<HttpReply, Generation> worker_generation(ServedModelPtr model, const RequestLimits& limits,
                                                      const std::string& body, std::function<int64_t()> memory_bytes);

constexpr const char* worker_path = "/execute";

// {"code", "message", "retriable"}
HttpReply worker_reply(const Refusal& refusal);
// Of any path: in OpenAI's form, or the worker's.
HttpReply refused_reply(const std::string& path, const Refusal& refusal);
// What a stream of events that has begun ends with: {"type": "error", "code", "message"}
nlohmann::ordered_json worker_error_event(const Refusal& refusal);

}  // namespace braid
