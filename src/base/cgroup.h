// SPDX-License-Identifier: Apache-2.0
// What this process's control group leaves it of the host's memory: batch systems and containers grant less than the
// machine has, and exceeding it is a kill without a message. Version 1 and 2 of the kernel's interface.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

namespace braid {

constexpr int64_t no_memory_limit = std::numeric_limits<int64_t>::max();

// Bytes below the tightest limit of the group and all groups around it, file cache that the kernel would give up
// counted as free; no_memory_limit when there is none. `root` stands for / in tests.
int64_t cgroup_available_bytes(const std::string& root = "/");

}  // namespace braid
