// SPDX-License-Identifier: Apache-2.0
// A line of JSON for each request that has ended. Prompts and answers are never in it.
#pragma once

#include <iosfwd>
#include <optional>
#include <string>

namespace braid {

struct AccessRecord {
  std::string request_id, client, method, path;
  int status = 0;       // 499: the client went before there was one
  std::string outcome;  // of a generation: stop, length, cancelled, …
  int64_t answers = 0, prompt_tokens = 0, cached_tokens = 0, tokens = 0;
  double queue_seconds = 0, first_token_seconds = 0, seconds = 0;
  std::string replica;        // of a front: who answered
  int64_t moves = 0;          // of a front: replicas that were lost, or would not take it, before
  std::string message;  // of what went wrong
};

class AccessLog {
 public:
  AccessLog() = default;                                 // says nothing
  explicit AccessLog(std::ostream& out) : out_(&out) {}  // must outlive it
  void write(const AccessRecord& record) const;
  // Something that is no request's, but whoever runs the server should know.
  void note(const std::string& event, const std::string& message) const;

 private:
  std::ostream* out_ = nullptr;
};

}  // namespace braid
