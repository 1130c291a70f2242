// SPDX-License-Identifier: Apache-2.0
// The options of braid checkpoint, which its actions share.
#pragma once

#include "cli/checkpoint_actions.h"
#include "cli/options.h"

namespace braid {

void add_checkpoint_options(cxxopts::Options& options);

CheckpointRequest read_checkpoint_request(const cxxopts::ParseResult& parsed);

// Refuses what is wrong with every action. UsageError.
void check_checkpoint_request(const cxxopts::ParseResult& parsed, const CheckpointRequest& request);

}  // namespace braid
