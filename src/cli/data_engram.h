// SPDX-License-Identifier: Apache-2.0
// `braid data engram`: pattern files into the examples of the Engram experiment.
#pragma once

#include "cli/command.h"

namespace braid {

int data_engram(const Arguments& arguments);  // what follows the action's name

}  // namespace braid
