// SPDX-License-Identifier: Apache-2.0
// What differs between the configuration a run began with and the one it is to go on with, or between two ranks'.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "experiments/run_config.h"

namespace braid {

struct ConfigChange {
  std::string key, before, now;  // values as TOML
  bool allowed = false;          // it does not change what the run computes: steps, intervals, layout, fault handling
  std::string text() const { return key + " " + before + " -> " + now; }
};

// `before` is TOML text as a run file or checkpoint keeps it. Keys it lacks had their default value; a text that this
// version cannot read counts as one change that is not allowed.
std::vector<ConfigChange> config_changes(const std::string& before, RunConfig now);

// "model.layers 4 -> 6, train.seed 0 -> 1" of those with that mark.
std::string describe_changes(const std::vector<ConfigChange>& changes, bool allowed);

// Ranks with different configurations would wait for each other for ever: an AgreedError that names the first such rank
// and what differs. Collective.
void require_same_configuration(RunConfig config, Communicator& host);

}  // namespace braid
