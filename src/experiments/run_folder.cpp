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

void create_run_folder(const std::string& out, const std::string& config_toml) {
  if (fs::exists(fs::path(out) / "run.h5")) {
    throw UsageError(str(out, ": holds another run; choose another --out or remove it"));
  }
  std::error_code problem;
  fs::create_directories(out, problem);
  if (problem) throw UsageError(str(out, ": cannot be created: ", problem.message()));
  const std::string path = (fs::path(out) / "config.toml").string();
  std::ofstream file(path);
  file << config_toml;
  file.close();
  if (!file) throw UsageError(str(path, ": cannot be written: ", std::strerror(errno)));
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
