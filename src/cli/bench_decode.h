// SPDX-License-Identifier: Apache-2.0
// braid bench decode: how fast a model answers, by device, length and number of streams, beside what memory allows.
#pragma once

#include "cli/command.h"

namespace braid {

int command_bench_decode(const Arguments& arguments);

}  // namespace braid
