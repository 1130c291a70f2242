// SPDX-License-Identifier: Apache-2.0
#include "comm/launch_environment.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"

namespace braid {
namespace {

LaunchEnvironment read(const std::map<std::string, std::string>& variables) {
  return read_launch_environment([&](const char* name) {
    const auto it = variables.find(name);
    return it == variables.end() ? nullptr : it->second.c_str();
  });
}

TEST(LaunchEnvironment, WithoutVariablesTheProcessIsAlone) { EXPECT_EQ(read({}).launcher, Launcher::alone); }

TEST(LaunchEnvironment, MpirunAndSrunStartMpi) {
  EXPECT_EQ(read({{"OMPI_COMM_WORLD_SIZE", "4"}}).promised_ranks, 4);
  const LaunchEnvironment srun = read({{"SLURM_STEP_ID", "0"}, {"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "8"}});
  EXPECT_EQ(srun.launcher, Launcher::mpi);
  EXPECT_EQ(srun.promised_ranks, 8);
}

TEST(LaunchEnvironment, ABatchScriptsOwnShellIsAlone) {
  EXPECT_EQ(read({{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"}}).launcher, Launcher::alone);
}

TEST(LaunchEnvironment, AWorldOfOneUnderALauncherOfManyIsExplained) {
  const LaunchEnvironment two = read({{"OMPI_COMM_WORLD_SIZE", "2"}});
  EXPECT_NE(singleton_problem(two, 1).find("--mpi=pmix"), std::string::npos);
  EXPECT_EQ(singleton_problem(two, 2), "");
  EXPECT_EQ(singleton_problem(read({{"OMPI_COMM_WORLD_SIZE", "1"}}), 1), "");
}

TEST(LaunchEnvironment, ASharedFileNeedsRankAndWorld) {
  EXPECT_THROW(read({{"BRAID_RENDEZVOUS", "/x"}}), UsageError);
  EXPECT_THROW(read({{"BRAID_RENDEZVOUS", "/x"}, {"BRAID_RANK", "two"}, {"BRAID_WORLD", "3"}}), UsageError);
  EXPECT_THROW(read({{"BRAID_RENDEZVOUS", "/x"}, {"BRAID_RANK", "3"}, {"BRAID_WORLD", "3"}}), UsageError);
  const LaunchEnvironment good = read({{"BRAID_RENDEZVOUS", "/x"}, {"BRAID_RANK", "2"}, {"BRAID_WORLD", "3"}});
  EXPECT_EQ(good.launcher, Launcher::file);
  EXPECT_EQ(good.rank, 2);
}

}  // namespace
}  // namespace braid
