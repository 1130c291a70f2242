// SPDX-License-Identifier: Apache-2.0
#include "experiments/hardware.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <set>

#include "base/caches.h"
#include "base/error.h"

namespace braid {

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

int64_t bytes_beyond_caches() {
  return std::max(last_caches_bytes() * 3 / 2, int64_t{256} << 20);
}

std::string hardware_of(const std::vector<RankPlace>& places) {
  std::map<std::string, std::set<std::string>> gpus;  // by name, their UUIDs
  std::set<std::string> hosts;
  int cores = 0;
  for (const RankPlace& place : places) {
    hosts.insert(place.host);
    cores = std::max(cores, place.cpus);
    const size_t blank = place.device.find(' ');
    if (blank != std::string::npos) gpus[place.device.substr(blank + 1)].insert(place.device_id);
  }
  if (gpus.empty()) {
    const std::string one = str(processor_name(), ", ", cores, cores == 1 ? " core" : " cores");
    return hosts.size() == 1 ? one : str(hosts.size(), " hosts of ", one);
  }
  std::string text;
  for (const auto& [name, ids] : gpus) text += str(text.empty() ? "" : ", ", ids.size(), " x ", name);
  return text;
}

}  // namespace braid
