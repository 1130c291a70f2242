// SPDX-License-Identifier: Apache-2.0
#include "comm/agreement.h"
#include "experiments/run.h"
#include "experiments/sweep.h"

namespace braid {

namespace {

// One run on a group of ranks. What all of them agree went wrong is written down and the sweep goes on.
void run_one(SweepRun& run, const std::string& folder, RunSite site, std::string& trouble) {
  try {
    run_training({run.config, folder, run.name}, site);
  } catch (const AgreedError& error) {
    trouble = error.what();
    if (site.ranks.host.rank() == 0) site.logger.error(str(run.name, ": ", trouble));
  }
}

// Attempts are saved by one rank of the world at a time: groups own disjoint runs, and each writes its own run's entry.
void start(SweepPlan& plan, SweepRun& run, Communicator& world) {
  agree_on_root(world, [&] { begin_attempt(plan, run); });
}

}  // namespace

void run_sweep_in_job(SweepPlan plan, int64_t side_by_side, World& world, Logger& logger) {
  const int groups = static_cast<int>(side_by_side);
  const int group = world.rank() * groups / world.size();
  std::unique_ptr<Communicator> host = world.host().split(group, world.rank());
  std::unique_ptr<Communicator> data;
  if (world.device_index() >= 0) data = world.data().split(group, world.rank());
  Communicator& group_data = data ? *data : *host;
  // Rounds: each group takes one run, then all meet, so that one rank keeps the list.
  std::vector<SweepRun*> waiting;
  for (SweepRun& run : plan.runs) {
    if (!run.finished()) waiting.push_back(&run);
  }
  for (size_t first = 0; first < waiting.size(); first += side_by_side) {
    const size_t end = std::min(waiting.size(), first + side_by_side);
    for (size_t i = first; i < end; ++i) start(plan, *waiting[i], world.host());
    const size_t mine = first + group;
    std::string trouble;
    if (mine < end) {
      run_one(*waiting[mine], plan.folder(*waiting[mine]), {world, {*host, group_data}, logger}, trouble);
    }
    const auto troubles = gather_texts(world.host(), host->rank() == 0 ? trouble : "");
    agree_on_root(world.host(), [&] {
      for (size_t i = first; i < end; ++i) {
        std::string known;
        for (int rank = 0; rank < world.size(); ++rank) {
          if (rank * groups / world.size() == static_cast<int>(i - first) && !troubles[rank].empty()) known = troubles[rank];
        }
        settle(plan, *waiting[i], known);
      }
    });
  }
  if (world.rank() == 0) logger.info(sweep_table(plan));
}

}  // namespace braid
