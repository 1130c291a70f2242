// SPDX-License-Identifier: Apache-2.0
#include "experiments/run_folder.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "base/clock.h"
#include "base/error.h"
#include "experiments/version.h"

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

std::string sha256_hex(const std::string& text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  if (!EVP_Digest(text.data(), text.size(), digest, &length, EVP_sha256(), nullptr)) throw Error("SHA-256 failed");
  std::string hex;
  for (unsigned int i = 0; i < length; ++i) {
    hex += "0123456789abcdef"[digest[i] >> 4];
    hex += "0123456789abcdef"[digest[i] & 15];
  }
  return hex;
}

RunAttributes run_attributes(const World& world, int ranks, const std::string& config_toml) {
  const RankPlace& place = world.places().at(world.rank());
  const std::string digest = sha256_hex(config_toml);
  const std::string id = sha256_hex(str(digest, place.host, unix_seconds(), getpid())).substr(0, 16);
  const Versions versions = library_versions();
  return {{"run_id", id},
          {"config", config_toml},
          {"config_sha256", digest},
          {"git_commit", std::string(git_commit())},
          {"host", place.host},
          {"world_size", int64_t{ranks}},
          {"mesh", str("data=", ranks)},
          {"torch_version", versions.torch},
          {"nccl_version", versions.nccl},
          {"cuda_version", versions.cuda},
          {"device", place.device}};
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
