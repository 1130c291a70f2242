// SPDX-License-Identifier: Apache-2.0
// braid checkpoint verify: whether the files of checkpoints are whole.
#include "store/checkpoint_verify.h"

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "base/error.h"
#include "cli/checkpoint_actions.h"
#include "cli/command.h"
#include "train/memory.h"

namespace braid {

namespace {

struct VerifyTotals {
  int64_t checkpoints = 0, files = 0, damaged = 0, newer = 0;
};

void tell_of_file(const FileCheck& check, VerifyTotals& totals) {
  ++totals.files;
  (check.newer ? totals.newer : totals.damaged) += !check.problems.empty();
  for (const std::string& problem : check.problems) std::cerr << "braid: " << problem << std::endl;
  if (!check.problems.empty()) return;
  char rate[32];
  std::snprintf(rate, sizeof rate, "%.2f GiB/s", double(check.bytes) / std::max(check.seconds, 1e-9) / (1 << 30));
  std::cout << check.path << ": whole, " << human_bytes(check.bytes) << ", ";
  if (check.slices > 0) std::cout << check.slices << (check.slices == 1 ? " slice, " : " slices, ");
  std::cout << rate << std::endl;
}

void tell_of_leftovers(const std::string& root) {
  for (const std::string& name : leftovers_in(root)) {
    const char* what = name.ends_with(".tmp") ? "a save that has not ended" : "moved out of the way";
    std::cout << root << "/" << name << ": not looked at: " << what << "\n";
  }
}

int conclude(const VerifyTotals& totals) {
  std::cout << totals.checkpoints << (totals.checkpoints == 1 ? " checkpoint, " : " checkpoints, ") << totals.files
            << " files: ";
  if (totals.damaged + totals.newer == 0) {
    std::cout << "all whole" << std::endl;
    return exit_done;
  }
  std::cout << totals.damaged << " damaged, " << totals.newer << " of a newer version" << std::endl;
  return totals.damaged > 0 ? exit_failed : exit_usage;
}

}  // namespace

int verify_checkpoints(const CheckpointRequest& request) {
  VerifyTotals totals;
  std::vector<CheckpointsFound> all;
  for (const std::string& path : request.paths) all.push_back(find_checkpoints(path));
  for (const CheckpointsFound& found : all) {
    for (const std::string& folder : found.checkpoints) {
      ++totals.checkpoints;
      check_checkpoint(folder, [&](const FileCheck& check) { tell_of_file(check, totals); });
    }
    if (!found.root.empty()) tell_of_leftovers(found.root);
  }
  return conclude(totals);
}

}  // namespace braid
