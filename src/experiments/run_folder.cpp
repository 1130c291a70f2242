// SPDX-License-Identifier: Apache-2.0
#include "experiments/run_folder.h"

#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace braid {

namespace fs = std::filesystem;

void create_run_folder(const std::string& out) {
  std::error_code problem;
  fs::create_directories(out, problem);
  if (problem) throw UsageError(str(out, ": cannot be created: ", problem.message()));
}

void write_run_config(const std::string& out, const std::string& config_toml) {
  const std::string path = (fs::path(out) / "config.toml").string(), fresh = path + ".new";
  std::ofstream file(fresh);
  file << config_toml;
  file.close();
  if (!file) {
    const std::string reason = std::strerror(errno);
    std::error_code ignored;
    fs::remove(fresh, ignored);
    throw UsageError(str(path, ": cannot be written: ", reason));
  }
  fs::rename(fresh, path);
}

std::string default_run_folder(const std::string& config_path) {
  char stamp[32];
  const std::time_t now = std::time(nullptr);
  std::tm local = {};
  localtime_r(&now, &local);
  std::strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &local);
  return str("runs/", fs::path(config_path).stem().string(), "-", stamp);
}

}  // namespace braid
