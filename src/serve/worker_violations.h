// SPDX-License-Identifier: Apache-2.0
// What the public worker requires of a request's fields, all of it looked at before anything is refused.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace braid {

struct WorkerViolation {
  std::string field, constraint, message;
  nlohmann::json value;  // null: not told
};

// job_id, prompt of 1 to 32768 characters, max_tokens of 1 to 2048, temperature and repetition_penalty of 0 to 2 (the
// latter above 0), top_p and min_p of 0 to 1, top_k, seed, at most 4 stop strings of 1 to 100 characters.
std::vector<WorkerViolation> worker_violations(const nlohmann::json& body);

}  // namespace braid
