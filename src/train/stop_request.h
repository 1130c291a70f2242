// SPDX-License-Identifier: Apache-2.0
// SIGUSR1, SIGTERM and SIGINT ask a run to stop. The handler only sets a flag; the flag is summed over the ranks with
// each step's loss, so that all of them stop after the same step. A second SIGINT leaves at once.
//
// The handler has a stack of its own, and threads that compute are shielded: some of oneDNN's generated kernels (its
// x64:gemm:jit, met in version 3.10) use the stack pointer for other things, so that a signal frame put where it points
// overwrites the heap.
#pragma once

#include <signal.h>

#include <vector>

namespace braid {

// For the time before there is a StopRequest: the signals wait instead of ending the process, and threads made meanwhile
// never take them.
void hold_stop_signals();

// RAII: installs the handlers, restores the old ones. Made and destroyed by the thread that trains; one at a time.
class StopRequest {
 public:
  StopRequest();
  ~StopRequest();
  StopRequest(const StopRequest&) = delete;
  StopRequest& operator=(const StopRequest&) = delete;
  bool requested() const;
  int signal_number() const;  // 0 when none came

 private:
  std::vector<char> stack_;
  sigset_t outer_ = {};  // the thread's mask before
};

}  // namespace braid
