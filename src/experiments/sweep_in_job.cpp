// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "comm/agreement.h"
#include "comm/recording_communicator.h"
#include "experiments/run.h"
#include "experiments/sweep.h"

namespace braid {

namespace {

// The world cut into equal groups; each takes a run.
struct Groups {
  int count, mine;
  std::unique_ptr<Communicator> host, data;  // data is null on CPUs
  std::unique_ptr<Communicator> meeting;     // of all groups: each waits there for the slowest as long as that trains

  Groups(World& world, int64_t side_by_side)
      : count(static_cast<int>(side_by_side)), mine(of_rank(world.rank(), world.size())) {
    host = world.host().split(mine, world.rank());
    meeting = make_patient_split(world.host(), "sweep");
    if (world.device_index() >= 0) data = world.data().split(mine, world.rank());
  }
  int of_rank(int rank, int ranks) const { return rank * count / ranks; }
  TrainRanks ranks() { return {*host, data ? *data : *host}; }
};

constexpr const char* stop_mark = "\nstopped";  // what a group reports besides its trouble

// One run on this rank's group. What all of its ranks agree went wrong is written down and the sweep goes on.
std::string run_one(const RunRequest& request, RunSite site) {
  try {
    const RunOutcome outcome = run_training(request, site);
    return outcome.state == "stopped" || outcome.state == "preempted" ? stop_mark : "";
  } catch (const AgreedError& error) {
    if (site.ranks.host.rank() == 0) site.logger.error(str(request.label, ": ", error.what()));
    return error.what();
  }
}

// What all runs share.
struct RunOptions {
  ResumeOptions resume;
  TimeLimit limit;
};

using Round = std::vector<SweepRun*>;  // one run a group, fewer in the last round

// Every group's report, in group order, on all ranks.
std::vector<std::string> run_round(const SweepPlan& plan, const Round& round, Groups& groups, RunSite site,
                                   const RunOptions& options) {
  World& world = site.world;
  std::string report;
  if (groups.mine < static_cast<int>(round.size())) {
    const SweepRun& run = *round[groups.mine];
    report = run_one({run.config, plan.folder(run), run.name, options.resume, options.limit},
                     {world, groups.ranks(), site.logger, site.stop});
  }
  const auto all = gather_texts(*groups.meeting, groups.host->rank() == 0 ? report : "");
  std::vector<std::string> reports(round.size());
  for (int rank = 0; rank < world.size(); ++rank) {
    const int group = groups.of_rank(rank, world.size());
    if (group < static_cast<int>(round.size()) && !all[rank].empty()) reports[group] = all[rank];
  }
  return reports;
}

std::vector<Round> rounds_of(SweepPlan& plan, size_t side_by_side) {
  std::vector<Round> rounds;
  for (SweepRun& run : plan.runs) {
    if (run.finished()) continue;
    if (rounds.empty() || rounds.back().size() == side_by_side) rounds.emplace_back();
    rounds.back().push_back(&run);
  }
  return rounds;
}

}  // namespace

bool run_sweep_in_job(SweepPlan plan, int64_t side_by_side, World& world, Logger& logger, const ResumeOptions& resume) {
  StopRequest stop;
  const TimeLimit limit = world.rank() == 0 ? time_limit_from(0, unix_seconds()) : TimeLimit();
  Groups groups(world, side_by_side);
  bool stopped = false;
  for (Round& round : rounds_of(plan, static_cast<size_t>(side_by_side))) {
    agree_on_root(*groups.meeting, [&] {
      for (SweepRun* run : round) begin_attempt(plan, *run);
    });
    const auto reports = run_round(plan, round, groups, {world, {world.host(), world.data()}, logger, stop}, {resume, limit});
    agree_on_root(*groups.meeting, [&] {
      for (size_t i = 0; i < round.size(); ++i) settle(plan, *round[i], reports[i] == stop_mark ? "" : reports[i]);
    });
    stopped = std::find(reports.begin(), reports.end(), stop_mark) != reports.end();
    if (stopped) break;
  }
  if (world.rank() == 0) logger.info(sweep_table(plan));
  return !stopped;
}

}  // namespace braid
