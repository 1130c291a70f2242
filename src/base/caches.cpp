// SPDX-License-Identifier: Apache-2.0
#include "base/caches.h"

#include <sched.h>

#include <fstream>
#include <map>

#include "base/error.h"

namespace braid {

int64_t last_caches_bytes(const std::string& system) {
  cpu_set_t mine;
  if (sched_getaffinity(0, sizeof mine, &mine) != 0) return 0;
  std::map<std::string, int64_t> caches;  // by the cores that share one
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &mine)) continue;
    const std::string folder = str(system, "/cpu", core, "/cache/index3/");
    std::ifstream size(folder + "size"), shared(folder + "shared_cpu_list");
    int64_t kibibytes = 0;  // "32768K"
    std::string cores;
    if (size >> kibibytes && shared >> cores) caches[cores] = kibibytes * 1024;
  }
  int64_t bytes = 0;
  for (const auto& [cores, own] : caches) bytes += own;
  return bytes;
}

}  // namespace braid
