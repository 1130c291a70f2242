// SPDX-License-Identifier: Apache-2.0
// braid bench gist: compressing contexts and answering from gists, timed beside the same model with the whole context.
#pragma once

#include "cli/command.h"

namespace braid {

int command_bench_gist(const Arguments& arguments);

}  // namespace braid
