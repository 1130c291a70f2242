// SPDX-License-Identifier: Apache-2.0
// braid bench serve: what clients of a server see when many ask at once.
#pragma once

#include "cli/command.h"

namespace braid {

int command_bench_serve(const Arguments& arguments);

}  // namespace braid
