// SPDX-License-Identifier: Apache-2.0
#include "base/cgroup.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace braid {

namespace fs = std::filesystem;

namespace {

// Where one version of the interface keeps a group's numbers.
struct Interface {
  fs::path mount;
  const char *limit, *usage, *inactive_file;
};

// "max" and a missing file mean `otherwise`.
int64_t number_in(const fs::path& path, int64_t otherwise) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? value : otherwise;
}

int64_t stat_field(const fs::path& path, const std::string& field) {
  std::ifstream file(path);
  std::string name;
  for (int64_t value = 0; file >> name >> value;) {
    if (name == field) return value;
  }
  return 0;
}

int64_t left_in(const fs::path& group, const Interface& names) {
  const int64_t limit = number_in(group / names.limit, no_memory_limit);
  if (limit >= no_memory_limit / 2) return no_memory_limit;  // version 1 says "none" as 2^63 less one page
  const int64_t usage = number_in(group / names.usage, 0);
  const int64_t cache = std::min(usage, stat_field(group / "memory.stat", names.inactive_file));
  return std::max<int64_t>(limit - usage + cache, 0);
}

// The group and those around it up to the mount. Inside a container the path may be the host's and lead nowhere here;
// the mount itself is then the container's group.
int64_t tightest(const std::string& group, const Interface& names) {
  int64_t left = left_in(names.mount, names);
  fs::path place = names.mount;
  for (const fs::path& part : fs::path(group).relative_path()) {
    if (part == "..") break;
    place /= part;
    left = std::min(left, left_in(place, names));
  }
  return left;
}

bool names_memory(const std::string& controllers) {
  return ("," + controllers + ",").find(",memory,") != std::string::npos;
}

}  // namespace

// /proc/self/cgroup: "4:memory:/job/step" for version 1, "0::/job/step" for version 2; a host may have both.
int64_t cgroup_available_bytes(const std::string& root) {
  const fs::path mounts = fs::path(root) / "sys/fs/cgroup";
  const Interface v1 = {mounts / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};
  const Interface v2 = {mounts, "memory.max", "memory.current", "inactive_file"};
  int64_t left = std::min(tightest("/", v1), tightest("/", v2));
  std::ifstream file(fs::path(root) / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), group = line.substr(second + 1);
    if (controllers.empty()) left = std::min(left, tightest(group, v2));
    if (names_memory(controllers)) left = std::min(left, tightest(group, v1));
  }
  return left;
}

}  // namespace braid
