// SPDX-License-Identifier: Apache-2.0
// How many replies each route has given, by status. On the server's thread alone.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace braid {

class PrometheusText;

class ReplyCounts {
 public:
  void count(const std::string& path, int status) { ++counts_[{path, status}]; }  // path: a route's, not the client's
  void write(PrometheusText& text) const;

 private:
  std::map<std::pair<std::string, int>, int64_t> counts_;
};

}  // namespace braid
