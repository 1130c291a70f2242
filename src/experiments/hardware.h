// SPDX-License-Identifier: Apache-2.0
// What a run computes on, in a line that a table of results can carry.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/world.h"

namespace braid {

// "2 x NVIDIA H200", "AMD EPYC 9V74, 2 cores", "2 hosts of AMD EPYC 9V74, 2 cores": of all ranks, with the processor of
// this host.
std::string hardware_of(const std::vector<RankPlace>& places);

// "model name" of /proc/cpuinfo, "CPU" where the system does not tell.
std::string processor_name();

// What weights must at least have for reading them to be reading memory: half as much again as the last caches of
// this process's cores, of which a virtual machine's share may be smaller, and 256 MiB where the system does not tell
// their size or it is small.
int64_t bytes_beyond_caches();

}  // namespace braid
