// SPDX-License-Identifier: Apache-2.0
#include "cli/replica_process.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "base/error.h"

namespace braid {

namespace {

constexpr const char* this_program = "/proc/self/exe";
constexpr int no_start = 127;

// Of a launcher's: a replica is alone, whatever has started its front.
constexpr std::array<std::string_view, 5> launchers = {"OMPI_", "PMIX_", "PMI_", "SLURM_", "BRAID_RENDEZVOUS"};

bool is_kept(std::string_view entry, const ReplicaCommand& command) {
  const std::string_view name = entry.substr(0, entry.find('='));
  const auto of_launcher = [&](std::string_view prefix) { return name.starts_with(prefix); };
  if (std::any_of(launchers.begin(), launchers.end(), of_launcher)) return false;
  return std::none_of(command.environment.begin(), command.environment.end(),
                      [&](const auto& set) { return set.first == name; });
}

std::vector<std::string> environment_of(const ReplicaCommand& command) {
  std::vector<std::string> entries;
  for (char** entry = environ; entry && *entry; ++entry) {
    if (is_kept(*entry, command)) entries.emplace_back(*entry);
  }
  for (const auto& [name, value] : command.environment) entries.push_back(name + "=" + value);
  return entries;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

// All that a new process needs, made before it is there: other threads may hold locks at that moment.
struct Start {
  std::vector<char*> arguments, environment;
  cpu_set_t cores;
  bool pinned;
  int output;
  pid_t parent;
};

[[noreturn]] void become(const Start& start) {
  setpgid(0, 0);  // Ctrl-C is for the front
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != start.parent) _exit(no_start);
  if (start.pinned) sched_setaffinity(0, sizeof start.cores, &start.cores);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  dup2(start.output, STDOUT_FILENO);
  close_range(STDERR_FILENO + 1, ~0U, 0);  // sockets of the front and of its clients
  execve(this_program, start.arguments.data(), start.environment.data());
  _exit(no_start);
}

}  // namespace

ReplicaProcess::ReplicaProcess(const ReplicaCommand& command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw Error(str("cannot start a replica: ", std::strerror(errno)));
  std::vector<std::string> words = {"braid"}, environment = environment_of(command);
  words.insert(words.end(), command.words.begin(), command.words.end());
  Start start{pointers_to(words), pointers_to(environment), {}, !command.cores.empty(), ends[1], getpid()};
  CPU_ZERO(&start.cores);
  for (const int core : command.cores) CPU_SET(core, &start.cores);
  id_ = fork();
  if (id_ == 0) become(start);
  const int problem = errno;
  close(ends[1]);
  output_ = ends[0];
  if (id_ > 0) {
    fcntl(output_, F_SETFL, O_NONBLOCK);
    return;
  }
  close(output_);
  throw Error(str("cannot start a replica: ", std::strerror(problem)));
}

ReplicaProcess::~ReplicaProcess() {
  if (id_ > 0) {
    kill(id_, SIGKILL);
    waitpid(id_, nullptr, 0);
  }
  close(output_);
}

std::vector<std::string> ReplicaProcess::new_lines() {
  char bytes[4096];
  for (ssize_t read_now; (read_now = read(output_, bytes, sizeof bytes)) > 0;) {
    unfinished_.append(bytes, static_cast<size_t>(read_now));
  }
  std::vector<std::string> lines;
  for (size_t end; (end = unfinished_.find('\n')) != std::string::npos; unfinished_.erase(0, end + 1)) {
    lines.push_back(unfinished_.substr(0, end));
  }
  return lines;
}

std::optional<int> ReplicaProcess::ended() {
  int status = 0;
  if (id_ > 0 && waitpid(id_, &status, WNOHANG) == id_) {
    id_ = -1;
    status_ = status;
  }
  return status_;
}

void ReplicaProcess::send(int signal) const {
  if (id_ > 0) kill(id_, signal);
}

std::string ending_of(int status) {
  return WIFEXITED(status) ? str("exit code ", WEXITSTATUS(status)) : str("signal ", WTERMSIG(status));
}

std::vector<int> own_cores() {
  cpu_set_t set;
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

}  // namespace braid
