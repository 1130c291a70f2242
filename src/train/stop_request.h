// SPDX-License-Identifier: Apache-2.0
// SIGUSR1, SIGTERM and SIGINT ask a run to stop. The handler only sets a flag; the flag is summed over the ranks with
// each step's loss, so that all of them stop after the same step.
#pragma once

namespace braid {

// RAII: installs the handlers, restores the old ones.
class StopRequest {
 public:
  StopRequest();
  ~StopRequest();
  StopRequest(const StopRequest&) = delete;
  StopRequest& operator=(const StopRequest&) = delete;
  bool requested() const;
  int signal_number() const;  // 0 when none came
};

}  // namespace braid
