// SPDX-License-Identifier: Apache-2.0
// braid eval OUT of a run with [gist].
#pragma once

#include "cli/command.h"

namespace braid {

// Whether the first argument names a folder: a run or one of its checkpoints.
bool names_run(const Arguments& arguments);
int command_eval_gist(const Arguments& arguments);

}  // namespace braid
