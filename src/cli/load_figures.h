// SPDX-License-Identifier: Apache-2.0
// What a load on a server came to, as a line of JSON or of a table.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "serve/stream_load.h"

namespace braid {

// What a server of this program says of itself at /metrics.
struct ServerMetrics {
  explicit ServerMetrics(const std::string& text) : text_(text) {}
  double value(const std::string& name) const;  // name with labels as they are written; 0: it is not there
  std::string label(const std::string& name, const std::string& label) const;

 private:
  std::string text_;
};

// Of one number of streams. Seconds between pieces are those between texts that a client got one after the other; the
// first piece is not among them.
nlohmann::ordered_json load_figures(const std::vector<std::vector<StreamTiming>>& timings, double seconds);

// With it the server's own figures: what it read in that time and of which measured bandwidth that is (read_share).
void add_server_figures(nlohmann::ordered_json& line, const ServerMetrics& before, const ServerMetrics& after,
                        double bandwidth);

std::string load_table_head();
std::string load_table_row(const nlohmann::ordered_json& line);

}  // namespace braid
