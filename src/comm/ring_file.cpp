// SPDX-License-Identifier: Apache-2.0
#include "comm/ring_file.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/clock.h"
#include "comm/bounded.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

bool write_whole(const fs::path& path, const std::string& document) {
  std::error_code problem;
  fs::create_directories(path.parent_path(), problem);
  const fs::path temporary = path.string() + ".tmp";
  std::ofstream file(temporary, std::ios::binary);
  file << document;
  file.close();
  if (!file) return false;
  fs::rename(temporary, path, problem);
  return !problem;
}

}  // namespace

std::string write_ring_file(const std::string& folder, const std::string& name, const std::string& document,
                            double seconds) {
  if (folder.empty()) return "";
  const fs::path path = fs::path(folder) / name;
  return within(seconds, [path, document] { return write_whole(path, document); }) ? path.string() : "";
}

std::string utc_for_file_name() {
  std::string time = utc_now_iso8601();  // 2026-01-02T03:04:05.678Z
  time.erase(time.find('.'), 4);
  std::erase_if(time, [](char c) { return c == '-' || c == ':'; });
  return time;
}

}  // namespace braid
