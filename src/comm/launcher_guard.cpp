// SPDX-License-Identifier: Apache-2.0
#include "comm/launcher_guard.h"

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <fstream>
#include <string>

namespace braid {

namespace {

// The process and the seconds are $1 and $2. A shell, because this process's memory must go when it ends.
constexpr const char* script =
    "left=$2; while kill -0 $1 && [ $left -gt 0 ]; do sleep 1; left=$((left - 1)); done; kill -KILL $1";

bool is_mpirun(pid_t process) {
  std::string name;
  std::ifstream("/proc/" + std::to_string(process) + "/comm") >> name;
  return name == "mpirun" || name == "mpiexec" || name == "orterun" || name == "prterun";
}

// mpirun would wait for the end of an output that is still open, and other ranks for that of a connection.
void close_all(posix_spawn_file_actions_t& actions) {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0);
#if __GLIBC_PREREQ(2, 34)
  posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
#endif
}

}  // namespace

void bound_launcher(int seconds) {
  const pid_t launcher = getppid();
  if (!is_mpirun(launcher)) return;
  std::string words[] = {"sh", "-c", script, "sh", std::to_string(launcher), std::to_string(seconds)};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(),
                       words[4].data(), words[5].data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  close_all(actions);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);  // mpirun kills the process groups of its ranks
  pid_t guard = 0;
  posix_spawn(&guard, "/bin/sh", &actions, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
}

}  // namespace braid
