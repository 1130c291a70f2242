// SPDX-License-Identifier: Apache-2.0
// How this process was started, read from environment variables alone.
#pragma once

#include <functional>
#include <string>

namespace braid {

enum class Launcher { alone, mpi, file };

struct LaunchEnvironment {
  Launcher launcher = Launcher::alone;
  int promised_ranks = 1;  // what the launcher says it started
  // With Launcher::file:
  std::string rendezvous;
  int rank = 0, ranks = 1;
};

using Getenv = std::function<const char*(const char*)>;

// UsageError when BRAID_RENDEZVOUS is set and BRAID_RANK or BRAID_WORLD is missing or wrong.
LaunchEnvironment read_launch_environment(const Getenv& getenv);

// "" when MPI found as many ranks as the launcher promised, else one line on what is wrong and how to start instead.
std::string singleton_problem(const LaunchEnvironment& environment, int mpi_size);

}  // namespace braid
