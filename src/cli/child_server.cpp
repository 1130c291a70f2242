// SPDX-License-Identifier: Apache-2.0
#include "cli/child_server.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "base/clock.h"
#include "base/error.h"

namespace braid {

namespace {

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> all;
  for (std::string& word : words) all.push_back(word.data());
  all.push_back(nullptr);
  return all;
}

// Its standard output goes into the pipe's writing end.
pid_t spawn(std::vector<std::string> command, int written) {
  std::error_code ignored;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", ignored).string();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, written, STDOUT_FILENO);
  pid_t process = 0;
  const int problem = posix_spawn(&process, self.c_str(), &actions, nullptr, pointers(command).data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (problem != 0) throw Error(str("cannot start ", self, " serve: ", std::generic_category().message(problem)));
  return process;
}

}  // namespace

ChildServer::ChildServer(const std::vector<std::string>& words) {
  std::vector<std::string> command = {"braid", "serve"};
  command.insert(command.end(), words.begin(), words.end());
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw Error("cannot make a pipe");
  const Stopwatch watch;
  try {
    process_ = spawn(command, ends[1]);
  } catch (...) {
    close(ends[0]), close(ends[1]);
    throw;
  }
  close(ends[1]);
  output_ = fdopen(ends[0], "r");
  wait_until_ready();
  load_seconds_ = watch.seconds();
}

ChildServer::~ChildServer() {
  if (process_ > 0) {
    kill(process_, SIGTERM);
    waitpid(process_, nullptr, 0);
  }
  if (output_) std::fclose(output_);
}

void ChildServer::wait_until_ready() {
  constexpr std::string_view ready = "ready on ";
  char line[4096];
  while (std::fgets(line, sizeof line, output_)) {
    const std::string text(line);
    if (!text.starts_with(ready)) continue;
    url_ = text.substr(ready.size(), text.find('\n') - ready.size());
    return;
  }
  int status = 0;
  waitpid(process_, &status, 0);
  process_ = 0;
  std::fclose(output_);
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  if (code == exit_usage) throw UsageError("braid bench serve: the server did not take that");
  throw Error("braid bench serve: the server ended before it was ready");
}

}  // namespace braid
