// SPDX-License-Identifier: Apache-2.0
// The rank/host/GPU table that every rank knows.
#pragma once

#include <vector>

#include "comm/world.h"

namespace braid {

int cores_of_this_process();  // by its affinity mask

// Collective. Fills in rank, host and cores of `mine` and returns everybody's.
std::vector<RankPlace> gather_places(Communicator& host, RankPlace mine);

}  // namespace braid
