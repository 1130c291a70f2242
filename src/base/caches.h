// SPDX-License-Identifier: Apache-2.0
// What of memory the processor keeps near: measurements of memory must read more than that.
#pragma once

#include <cstdint>
#include <string>

namespace braid {

// Bytes of the last caches (level 3) of all cores that this process may use; cores that share one count it once. 0 where the
// system does not tell. A virtual machine may have a smaller share of what it names. `system`: the folder of cpu0, cpu1, …
int64_t last_caches_bytes(const std::string& system = "/sys/devices/system/cpu");

}  // namespace braid
