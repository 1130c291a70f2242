// SPDX-License-Identifier: Apache-2.0
#include "train/watchdog_config.h"

namespace braid {

WatchdogTimeouts WatchdogConfig::timeouts() const {
  WatchdogTimeouts all;
  all.first_step = first_step_seconds;
  all.steady = step_seconds;
  all.heartbeat = heartbeat_seconds;
  return all;
}

void WatchdogConfig::describe(ConfigSection& s) {
  s.value("first_step_seconds", first_step_seconds,
          "how long a rank waits for the others until the first step is done: data are prepared and kernels loaded [s]", 1.0);
  s.value("step_seconds", step_seconds,
          "how long it waits afterwards; then the job ends, and says which rank is missing [s]", 1.0);
  s.value("heartbeat_seconds", heartbeat_seconds,
          "a rank whose process is silent for longer is lost: stopped, dead or cut off [s]", 3.0);
}

}  // namespace braid
