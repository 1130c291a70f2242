// SPDX-License-Identifier: Apache-2.0
// The runs of a [sweep] table: the product of its lists. Lists left empty take the value of [model], [data] or [train];
// what cannot be is left out, and what means nothing to a run (a form of connections to a plain residual) is made once.
#pragma once

#include <string>
#include <vector>

#include "experiments/run_config.h"

namespace braid {

struct NamedRun {
  std::string name;
  RunConfig config;
};

// UsageError: a variation that cannot be read or is there twice.
std::vector<NamedRun> runs_of(const RunConfig& base);

}  // namespace braid
