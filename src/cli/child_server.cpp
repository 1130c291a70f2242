// SPDX-License-Identifier: Apache-2.0
#include "cli/child_server.h"

#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <string_view>
#include <thread>

#include "base/error.h"

namespace braid {

namespace {

constexpr auto between_looks = std::chrono::milliseconds(10);

ReplicaCommand serving(const std::vector<std::string>& words) {
  ReplicaCommand command{{"serve"}, {}, {}};
  command.words.insert(command.words.end(), words.begin(), words.end());
  return command;
}

[[noreturn]] void tell_of_end(int status) {
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  if (code == exit_usage) throw UsageError("braid bench serve: the server did not take that");
  throw Error("braid bench serve: the server ended before it was ready");
}

}  // namespace

ChildServer::ChildServer(const std::vector<std::string>& words) : process_(serving(words)) {
  wait_until_ready();
  load_seconds_ = watch_.seconds();
}

ChildServer::~ChildServer() {
  process_.send(SIGTERM);
  while (!process_.ended()) std::this_thread::sleep_for(between_looks);
}

void ChildServer::wait_until_ready() {
  constexpr std::string_view ready = "ready on ";
  while (true) {
    const std::optional<int> status = process_.ended();  // asked before its lines are, so that none is missed
    for (const std::string& line : process_.new_lines()) {
      if (!line.starts_with(ready)) continue;
      url_ = line.substr(ready.size());
      return;
    }
    if (status) tell_of_end(*status);
    std::this_thread::sleep_for(between_looks);
  }
}

}  // namespace braid
