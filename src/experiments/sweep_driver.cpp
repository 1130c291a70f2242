// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "base/error.h"
#include "experiments/sweep.h"
#include "train/stop_request.h"

namespace braid {

namespace {

// Open MPI's slots are physical cores; how many ranks a machine takes is the user's choice here.
std::vector<std::string> mpirun_command(int64_t ranks, bool as_root) {
  std::vector<std::string> command = {"mpirun", "-n", std::to_string(ranks), "--bind-to", "none", "--oversubscribe"};
  if (as_root) command.emplace_back("--allow-run-as-root");
  return command;
}

// A child job under way.
struct Child {
  SweepRun* run;
  int64_t slot;
};

// In the child, between fork and exec.
[[noreturn]] void become(const std::vector<char*>& argv, int output) {
  // A child must not outlive a driver that was killed: a restart would find two processes at one run. It saves and ends.
  prctl(PR_SET_PDEATHSIG, SIGUSR1);
  // Ctrl-C goes to a terminal's foreground group, and mpirun would kill its ranks: the driver passes a request on instead.
  setpgid(0, 0);
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (nothing >= 0) dup2(nothing, STDIN_FILENO);
  if (output >= 0) dup2(output, STDOUT_FILENO);
  execvp(argv[0], argv.data());
  std::perror(argv[0]);
  _exit(exit_failed);
}

pid_t start_child(const std::vector<std::string>& command, const std::string& log_path) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const int output = log_path.empty() ? -1 : open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  const pid_t pid = fork();
  if (pid == 0) become(argv, output);
  const int problem = errno;
  if (output >= 0) close(output);
  if (pid < 0) throw Error(str(argv[0], ": cannot be started: ", std::strerror(problem)));
  return pid;
}

// Lets the children's progress bars through mpirun's pseudo-terminals.
void tell_columns() {
  winsize size = {};
  if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
    setenv("BRAID_COLUMNS", std::to_string(size.ws_col).c_str(), 0);
  }
}

std::string describe_end(int status) {
  if (WIFSIGNALED(status)) return str("killed by signal ", WTERMSIG(status));
  return WEXITSTATUS(status) == 0 ? "" : str("ended with exit code ", WEXITSTATUS(status));
}

class Driver {
 public:
  Driver(SweepPlan& plan, const SweepDriver& options, Logger& logger) : plan_(plan), options_(options), logger_(logger) {
    for (int64_t slot = 0; slot < options.side_by_side; ++slot) free_slots_.push_back(slot);
  }

  // True when every run has finished.
  bool drive() {
    while (!stop_.requested() && !out_of_time_) {
      while (!free_slots_.empty() && start_next()) {
      }
      if (children_.empty()) return true;
      wait_for_one();
    }
    stop_children();
    return false;
  }

 private:
  bool start_next() {
    for (SweepRun& run : plan_.runs) {
      if (run.state != "waiting") continue;
      begin_attempt(plan_, run);
      const int64_t slot = free_slots_.back();
      free_slots_.pop_back();
      const auto command = child_command(plan_, run, options_, slot, std::getenv("SLURM_JOB_ID") != nullptr,
                                         geteuid() == 0);
      // Side by side, two progress bars on one terminal would be unreadable.
      const std::string log = options_.side_by_side > 1 ? plan_.out + "/" + run.name + ".out" : "";
      children_[start_child(command, log)] = {&run, slot};
      return true;
    }
    return false;
  }

  void wait_for_one() {
    int status = 0;
    const pid_t pid = waitpid(-1, &status, 0);
    if (pid < 0) return;  // interrupted by a signal: the loop looks at it
    const auto child = children_.find(pid);
    if (child == children_.end()) return;
    SweepRun& run = *child->second.run;
    out_of_time_ = out_of_time_ || (WIFEXITED(status) && WEXITSTATUS(status) == exit_requeue);
    free_slots_.push_back(child->second.slot);
    children_.erase(child);
    // A stop that reached the child as well (Ctrl-C) is not the run's fault.
    if (stop_.requested()) return;
    settle(plan_, run, describe_end(status));
    if (run.state == "waiting") logger_.warning(str(run.name, ": ", run.message, "; trying once more"));
    if (run.state == "failed") logger_.error(str(run.name, ": failed: ", run.message));
  }

  // Each run saves its state and ends; mpirun and srun pass the signal on to their ranks.
  void stop_children() {
    for (const auto& [pid, child] : children_) kill(pid, SIGUSR1);
    for (const auto& [pid, child] : children_) {
      while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
      }
      settle(plan_, *child.run, "");
    }
  }

  SweepPlan& plan_;
  const SweepDriver& options_;
  Logger& logger_;
  StopRequest stop_;
  bool out_of_time_ = false;  // a run was told to stop by its batch job
  std::vector<int64_t> free_slots_;
  std::map<pid_t, Child> children_;
};

}  // namespace

std::vector<std::string> child_command(const SweepPlan& plan, const SweepRun& run, const SweepDriver& driver,
                                       int64_t slot, bool inside_slurm, bool as_root) {
  const int64_t ranks = driver.ranks / driver.side_by_side;
  std::vector<std::string> command;
  if (inside_slurm) {
    command = {"srun", "--mpi=pmix", "--exact", "-n", std::to_string(ranks)};
  } else if (ranks > 1) {
    command = mpirun_command(ranks, as_root);
  }
  for (const std::string& word : {driver.binary, std::string("train"), plan.out + "/configs/" + run.name + ".toml",
                                  std::string("--out"), plan.folder(run)}) {
    command.push_back(word);
  }
  command.insert(command.end(), driver.common.begin(), driver.common.end());
  if (driver.gpus.empty() || inside_slurm) return command;
  // Each slot has its own GPUs.
  std::string visible;
  for (int64_t i = 0; i < ranks; ++i) {
    if (i) visible += ",";
    visible += driver.gpus.at((slot * ranks + i) % driver.gpus.size());
  }
  command.insert(command.begin(), {"env", "CUDA_VISIBLE_DEVICES=" + visible});
  return command;
}

int drive_sweep(SweepPlan plan, const SweepDriver& driver, Logger& logger) {
  tell_columns();
  setenv("OMPI_MCA_orte_execute_quiet", "1", 0);  // the runs say themselves what failed; Open MPI 5 has no -q for it
  for (const SweepRun& run : plan.runs) write_run_config(plan, run);
  const bool complete = Driver(plan, driver, logger).drive();
  logger.info(sweep_table(plan));
  const bool failed = std::any_of(plan.runs.begin(), plan.runs.end(), [](const auto& run) { return run.state == "failed"; });
  if (!complete) logger.warning("stopped; the same command goes on from here");
  if (!complete) return exit_requeue;
  return failed ? exit_failed : exit_done;
}

}  // namespace braid
