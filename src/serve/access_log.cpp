// SPDX-License-Identifier: Apache-2.0
#include "serve/access_log.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/clock.h"
#include "serve/refusal.h"

namespace braid {

namespace {

double to_microseconds(double seconds) { return std::round(seconds * 1e6) / 1e6; }

}  // namespace

void AccessLog::write(const AccessRecord& record) const {
  if (!out_) return;
  nlohmann::ordered_json line = {{"time", utc_now_iso8601()},       {"event", "request"},
                                 {"request_id", record.request_id}, {"client", record.client},
                                 {"method", record.method},         {"path", record.path},
                                 {"status", record.status},         {"seconds", to_microseconds(record.seconds)}};
  if (record.answers > 0) {
    line["outcome"] = record.outcome;
    line["answers"] = record.answers;
    line["prompt_tokens"] = record.prompt_tokens;
    line["cached_tokens"] = record.cached_tokens;
    line["tokens"] = record.tokens;
    line["queue_seconds"] = to_microseconds(record.queue_seconds);
    line["first_token_seconds"] = to_microseconds(record.first_token_seconds);
  }
  if (!record.replica.empty()) {
    line["replica"] = record.replica;
    line["moves"] = record.moves;
    line["first_token_seconds"] = to_microseconds(record.first_token_seconds);
  }
  if (!record.message.empty()) line["message"] = record.message;
  *out_ << json_text(line) + "\n" << std::flush;
}

void AccessLog::note(const std::string& event, const std::string& message) const {
  if (!out_) return;
  const nlohmann::ordered_json line = {{"time", utc_now_iso8601()}, {"event", event}, {"message", message}};
  *out_ << json_text(line) + "\n" << std::flush;
}

}  // namespace braid
