// SPDX-License-Identifier: Apache-2.0
// What the server has counted since it began. On the server's thread alone.
#pragma once

#include <map>

#include "serve/backend.h"
#include "serve/http_server.h"
#include "serve/prometheus.h"
#include "serve/reply_counts.h"

namespace braid {

class Metrics {
 public:
  Metrics();

  void first_token(double seconds);                       // since the request came
  void next_tokens(double seconds, int64_t tokens);       // since those before, together
  void ended(const RequestEnd& end, double seconds);      // since the request came
  void out_of_queue() { ++refused_; }

  ReplyCounts replies;

  // In Prometheus' format. model is null, and state empty, as long as it loads.
  std::string text(const ServedModel* model, const EngineState& state, const HttpCounts& http) const;

 private:
  void add_requests(PrometheusText& text) const;

  std::map<std::string, int64_t> outcomes_;
  int64_t refused_ = 0, prompt_tokens_ = 0, cached_tokens_ = 0, new_tokens_ = 0;
  Histogram first_token_, next_token_, whole_, queue_;
};

const char* name_of(RequestOutcome outcome);  // "out_of_memory"

}  // namespace braid
