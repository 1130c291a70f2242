// SPDX-License-Identifier: Apache-2.0
// Where a run begins: at step 0, at a checkpoint, or not at all because it has ended already.
#pragma once

#include <string>
#include <vector>

#include "base/log.h"
#include "comm/communicator.h"
#include "experiments/run_config.h"
#include "store/checkpoint_manifest.h"

namespace braid {

struct ResumeOptions {
  // auto: from the newest checkpoint in OUT that verifies, at step 0 where it has none; never: OUT must hold no run; else
  // a checkpoint, or a run's folder whose newest is taken.
  std::string from = "auto";
  bool allow_config_change = false;
};

struct RunStart {
  bool ended = false;          // OUT holds this run, done or diverged
  std::string ended_state;
  int64_t ended_step = -1;     // its last step
  std::string checkpoint;      // folder to go on from, "" at step 0
  Manifest manifest;           // of it
  bool continues = false;      // OUT/run.h5 is this run's, and goes on
  std::string run_id;          // of the run that goes on, "" for a new one
  std::string origin;          // checkpoint or run elsewhere that it began from, "" when from nothing
  int64_t session = 0;         // how many starts it had before
  std::vector<std::pair<std::string, std::string>> events;  // kind and message, for /events

  int64_t step() const { return checkpoint.empty() ? 0 : manifest.step; }
};

// Collective: rank 0 looks, all verify (each a share of the shards), a checkpoint that does not verify is named and
// skipped. AgreedError, exit code 2, where OUT holds another run or the configuration differs in what a run computes.
RunStart decide_start(const std::string& out, const RunConfig& config, const ResumeOptions& resume, Communicator& host,
                      Logger& logger);

// The data must be what it was. UsageError that names both digests; an event with allow_config_change.
void require_same_data(RunStart& start, const std::string& digest, const ResumeOptions& resume);

}  // namespace braid
