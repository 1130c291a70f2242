// SPDX-License-Identifier: Apache-2.0
#include "experiments/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "comm/agreement.h"
#include "store/run_file.h"

namespace braid {

namespace {

constexpr double lock_patience_seconds = 5, token_patience_seconds = 15, fresh_heartbeat_seconds = 30;

std::string describe_this_job() {
  const char* job = std::getenv("SLURM_JOB_ID");
  return str("process ", getpid(), " on ", host_name(), job ? str(", SLURM job ", job) : "", ", since ", utc_now_iso8601());
}

std::string holder_of(int descriptor) {
  char text[256] = "";
  const ssize_t length = pread(descriptor, text, sizeof text - 1, 0);
  return length > 0 ? std::string(text, static_cast<size_t>(length)) : "another job";
}

[[noreturn]] void refuse(const std::string& out, int descriptor) {
  const std::string holder = holder_of(descriptor);
  close(descriptor);
  throw UsageError(str(out, ": in use by ", holder));
}

// For file systems without locks: a heartbeat that is not old.
bool looks_alive(const std::string& out) {
  try {
    const RunSummary summary = read_run_summary(out + "/run.h5");
    return summary.status.state == "running" && unix_seconds() - summary.heartbeat_unix_seconds < fresh_heartbeat_seconds;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

RunLock::RunLock(const std::string& out) : descriptor_(open((out + "/run.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) throw UsageError(str(out, "/run.lock: cannot be written: ", std::strerror(errno)));
  const Stopwatch watch;
  while (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const bool held = errno == EWOULDBLOCK || errno == EINTR;
    if (!held && looks_alive(out)) refuse(out, descriptor_);
    if (!held) break;
    if (watch.seconds() > lock_patience_seconds) refuse(out, descriptor_);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  const std::string text = describe_this_job();
  if (ftruncate(descriptor_, 0) == 0) (void)!pwrite(descriptor_, text.data(), text.size(), 0);
}

RunLock::RunLock(RunLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

RunLock& RunLock::operator=(RunLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

RunLock::~RunLock() {
  if (descriptor_ >= 0) close(descriptor_);
}

namespace {

// Network file systems show a new file late.
std::string read_when_there(const std::string& path) {
  const Stopwatch watch;
  std::string text;
  while (text.empty() && watch.seconds() < token_patience_seconds) {
    std::ifstream file(path);
    std::getline(file, text);
    if (text.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return text;
}

// Tokens of jobs that were killed while their ranks looked for them; no other job is here.
void remove_old_tokens(const std::string& out) {
  std::error_code ignored;
  for (std::filesystem::directory_iterator at(out, ignored), end; !ignored && at != end; at.increment(ignored)) {
    if (at->path().filename().string().starts_with(".shared-")) unlink(at->path().c_str());
  }
}

}  // namespace

void require_shared_folder(Communicator& host, const std::string& out) {
  if (host.size() == 1) return;
  const std::string token = broadcast_text(host, str(std::random_device{}(), "-", getpid()), 0);
  const std::string path = str(out, "/.shared-", token);
  agree_on_root(host, [&] {
    remove_old_tokens(out);
    std::ofstream file(path);
    file << token << "\n";
    file.close();
    if (!file) throw UsageError(str(path, ": cannot be written: ", std::strerror(errno)));
  });
  try {
    agree(host, [&] {
      if (read_when_there(path) == token) return;
      throw UsageError(str(std::filesystem::absolute(out).string(), ": rank ", host.rank(), " on ", host_name(),
                           " does not see what rank 0 wrote there; --out must be on a file system that all machines share"));
    });
  } catch (const AgreedError&) {
    if (host.rank() == 0) unlink(path.c_str());
    throw;
  }
  if (host.rank() == 0) unlink(path.c_str());
}

}  // namespace braid
