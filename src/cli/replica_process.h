// SPDX-License-Identifier: Apache-2.0
// A server started by this one: a process on cores of its own, which ends when this one does.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace braid {

struct ReplicaCommand {
  std::vector<std::string> words;  // of the program that runs here, after its name
  std::vector<std::pair<std::string, std::string>> environment;  // set beside this process' own
  std::vector<int> cores;                                        // that it may run on; none: all
};

class ReplicaProcess {
 public:
  // By the thread that lives as long as the replica may: with it the replica ends. Error: it cannot be started.
  explicit ReplicaProcess(const ReplicaCommand& command);
  ~ReplicaProcess();  // ends it at once
  ReplicaProcess(const ReplicaProcess&) = delete;
  ReplicaProcess& operator=(const ReplicaProcess&) = delete;

  std::vector<std::string> new_lines();  // of its standard output; does not wait
  std::optional<int> ended();            // its status as wait gives it, once it has ended
  void send(int signal) const;

 private:
  pid_t id_ = -1;  // -1: it has ended
  int output_ = -1;
  std::string unfinished_;  // line
  std::optional<int> status_;
};

// "exit code 1", "signal 9".
std::string ending_of(int status);

// Cores that this process may run on.
std::vector<int> own_cores();

}  // namespace braid
