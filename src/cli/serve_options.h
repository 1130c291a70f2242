// SPDX-License-Identifier: Apache-2.0
// What braid serve was asked for.
#pragma once

#include "cli/speculation_request.h"
#include "infer/engine.h"
#include "serve/http_server.h"
#include "serve/prompt.h"

namespace braid {

struct ServeRequest {
  ModelOptions model;
  std::string host, name;
  uint16_t port = 0;
  std::vector<std::string> keys;  // none: everyone may ask
  HttpLimits http;
  RequestLimits requests;
  EngineLimits engine;
  SpeculationRequest speculation;  // engine.speculation is its options
  double timeout_seconds = 0, drain_seconds = 0;
  std::string log;                      // a file, "-" for standard error
  std::string callback_url, worker_id;  // "" for none
};

void add_serve_options(cxxopts::Options& options);
ServeRequest read_serve_request(const cxxopts::ParseResult& parsed);  // UsageError

}  // namespace braid
