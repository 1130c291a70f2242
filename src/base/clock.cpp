// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>

#include "base/cgroup.h"

namespace braid {

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string utc_now_iso8601() {
  const double now = unix_seconds();
  const std::time_t whole = static_cast<std::time_t>(now);
  std::tm utc = {};
  gmtime_r(&whole, &utc);
  char day[32], text[48];
  std::strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text, sizeof text, "%s.%03dZ", day, static_cast<int>((now - double(whole)) * 1000));
  return text;
}

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

int64_t peak_resident_bytes() {
  struct rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

namespace {

int64_t meminfo_available() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  for (int64_t kilobytes = 0; file >> key >> kilobytes >> unit;) {
    if (key == "MemAvailable:") return kilobytes * 1024;
  }
  return no_memory_limit;
}

}  // namespace

int64_t available_host_memory_bytes() { return std::min(meminfo_available(), cgroup_available_bytes()); }

}  // namespace braid
