// SPDX-License-Identifier: Apache-2.0
// What braid serve was asked for.
#pragma once

#include "cli/speculation_request.h"
#include "infer/engine.h"
#include "serve/http_server.h"
#include "serve/prompt.h"
#include "serve/upstream.h"

namespace braid {

// A cache of gists (braid gist compress) and how requests name it.
struct NamedGists {
  std::string name, file;
};

struct ServeRequest {
  ModelOptions model;
  std::string host, name;
  uint16_t port = 0;
  std::vector<std::string> keys;  // none: everyone may ask
  HttpLimits http;
  RequestLimits requests;
  EngineLimits engine;
  SpeculationRequest speculation;  // engine.speculation is its options
  std::vector<NamedGists> gists;
  double timeout_seconds = 0, drain_seconds = 0;
  std::string log;                      // a file, "-" for standard error
  std::string callback_url, worker_id;  // "" for none
  int64_t tensor = 1;                   // ranks that the model is cut over
  int64_t replicas = 0;                 // processes of a front's own; 0: as many as there are devices
  std::vector<std::string> devices;     // that --device names
  std::vector<UpstreamAddress> replica_urls;  // servers that a front stands before; none: it starts its own

  bool is_front() const { return replicas > 0 || devices.size() > 1 || !replica_urls.empty(); }
};

void add_serve_options(cxxopts::Options& options);
ServeRequest read_serve_request(const cxxopts::ParseResult& parsed);  // UsageError

}  // namespace braid
