// SPDX-License-Identifier: Apache-2.0
#include "comm/launch_environment.h"

#include <cstdlib>

#include "base/error.h"

namespace braid {

namespace {

int number(const Getenv& getenv, const char* name, int fallback) {
  const char* text = getenv(name);
  return text ? std::atoi(text) : fallback;
}

int required_number(const Getenv& getenv, const char* name) {
  const char* text = getenv(name);
  char* end = nullptr;
  const long value = text ? std::strtol(text, &end, 10) : -1;
  if (!text || *text == '\0' || *end != '\0' || value < 0) {
    throw UsageError(str(name, ": expected a number with BRAID_RENDEZVOUS set, found ", text ? text : "nothing"));
  }
  return static_cast<int>(value);
}

LaunchEnvironment from_file(const Getenv& getenv) {
  LaunchEnvironment found{Launcher::file, 1, getenv("BRAID_RENDEZVOUS"), 0, 1};
  found.rank = required_number(getenv, "BRAID_RANK");
  found.ranks = found.promised_ranks = required_number(getenv, "BRAID_WORLD");
  if (found.ranks < 1 || found.rank >= found.ranks) {
    throw UsageError(str("BRAID_RANK=", found.rank, " BRAID_WORLD=", found.ranks, ": expected 0 <= rank < world"));
  }
  return found;
}

}  // namespace

LaunchEnvironment read_launch_environment(const Getenv& getenv) {
  if (getenv("BRAID_RENDEZVOUS")) return from_file(getenv);
  LaunchEnvironment found;
  if (getenv("OMPI_COMM_WORLD_SIZE")) {
    found.launcher = Launcher::mpi;
    found.promised_ranks = number(getenv, "OMPI_COMM_WORLD_SIZE", 1);
  } else if (getenv("SLURM_STEP_ID") && getenv("SLURM_PROCID") && number(getenv, "SLURM_STEP_NUM_TASKS", 1) >= 1 &&
             getenv("SLURM_STEP_NUM_TASKS")) {
    // A step of srun. The batch script itself has SLURM_PROCID too, but no step's task count.
    found.launcher = Launcher::mpi;
    found.promised_ranks = number(getenv, "SLURM_STEP_NUM_TASKS", 1);
  } else if (getenv("PMI_SIZE") || getenv("PMIX_RANK")) {
    found.launcher = Launcher::mpi;
    found.promised_ranks = number(getenv, "PMI_SIZE", 1);
  }
  return found;
}

std::string singleton_problem(const LaunchEnvironment& environment, int mpi_size) {
  if (mpi_size != 1 || environment.promised_ranks <= 1) return "";
  return str("the launcher started ", environment.promised_ranks,
             " tasks, but MPI sees each as a world of its own: this mpirun or srun does not belong to the Open MPI that braid "
             "was built with. With SLURM use srun --mpi=pmix (srun --mpi=list shows what there is); else use the mpirun of "
             "that Open MPI");
}

}  // namespace braid
