// SPDX-License-Identifier: Apache-2.0
// The [watchdog] table: how long ranks wait for each other before one counts as lost (comm/watchdog.h).
#pragma once

#include "base/config.h"
#include "comm/watchdog.h"

namespace braid {

struct WatchdogConfig {
  double first_step_seconds = 1800, step_seconds = 300, heartbeat_seconds = 30;

  WatchdogTimeouts timeouts() const;
  void describe(ConfigSection& section);
};

}  // namespace braid
