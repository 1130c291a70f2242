// SPDX-License-Identifier: Apache-2.0
// Time, the host's name and its memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace braid {

std::string utc_now_iso8601();  // 2026-01-02T03:04:05.678Z
double unix_seconds();
std::string host_name();
int64_t peak_resident_bytes();           // of this process so far
int64_t available_host_memory_bytes();   // free for new allocations, within the cgroup's limit

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace braid
