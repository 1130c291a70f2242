// SPDX-License-Identifier: Apache-2.0
// Load on a server of OpenAI's completions, this one or another: clients beside each other, each of which sends one
// request after the other and reads the answer as a stream. What is timed is what a client sees.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace braid {

struct LoadTarget {
  std::string host, port, path;  // path: what stands before /v1, "" for nothing
  std::string api_key;           // "" for none
};

// A request of the load, from when it was sent.
struct StreamTiming {
  std::vector<double> pieces;             // seconds until each piece of text came
  double whole = 0;                       // seconds until the stream ended
  int64_t prompt_tokens = 0, tokens = 0;  // as the server counts them
  std::string problem;                    // one line: it failed; "" for a whole answer
};

// Client c sends bodies[c], JSON of POST /v1/completions with `stream`, and waits for each answer's end before the
// next. A request that takes longer than so many seconds has failed. One list for each client.
std::vector<std::vector<StreamTiming>> run_load(const LoadTarget& target,
                                                const std::vector<std::vector<std::string>>& bodies,
                                                double timeout_seconds);

// One request and the body of its answer. Error: none, or one of another status than 200.
std::string fetch(const LoadTarget& target, const std::string& method, const std::string& route,
                  const std::string& body = "");

}  // namespace braid
