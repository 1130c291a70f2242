// SPDX-License-Identifier: Apache-2.0
// Ends a job in which a rank is missing, and says which: one that is stopped, dead, cut off, late for a collective, or
// calls another one than the rest. Without it the others would wait for ever.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "comm/communicator.h"

namespace braid {

struct FailureSite;

struct WatchdogTimeouts {    // seconds
  double first_step = 1800;  // of a collective before steady state: data are prepared, kernels compiled, NCCL connects
  double steady = 300;       // of a collective afterwards
  double heartbeat = 30;     // of silence on a rank's connection
  double abort = 10;         // for trying to end the job in order, before _exit
};

class Watchdog {
 public:
  Watchdog();  // of a world of one: nothing to watch
  // Connects every rank with rank 0 and starts to watch. Collective over `host`.
  Watchdog(Communicator& host, FailureSite site);
  // Says goodbye to the other ranks, so that they raise no alarm.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void set_timeouts(const WatchdogTimeouts& timeouts);
  // Where the rings of a failed job go: FOLDER/collectives-TIME.json; nowhere before this is called.
  void set_folder(const std::string& folder);
  void enter_steady_state();
  void leave_steady_state();  // the next run of a sweep begins

  // Called on rank 0 on a thread of its own with the line that names the missing rank, before the job ends; it gets
  // five seconds. An empty function takes it back, and waits while it runs.
  void on_failure(std::function<void(const std::string&)> hook);

  // Before a rank ends the job because of an exception: prints the message and tells the others, so that what people
  // see is this failure and not the loss of this rank; the caller then ends the job. Where a collective threw it, or
  // the job is being ended already, the watchdog speaks and ends the job, and this does not return.
  void report_failure(const std::string& message, int code);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace braid
