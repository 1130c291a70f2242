// SPDX-License-Identifier: Apache-2.0
// The processes of a front's replicas: started, placed where they listen, started again when they end. On the main
// thread alone.
#pragma once

#include <memory>

#include "base/clock.h"
#include "cli/replica_process.h"
#include "serve/front.h"

namespace braid {

class ReplicaSet {
 public:
  // say: what the user is told.
  ReplicaSet(std::vector<ReplicaCommand> commands, Front& front, std::function<void(const std::string&)> say);

  // Looks after all of them; to be called some times a second. The others start once the first is ready, so that what is
  // wrong with the model is told once. An exit code: the first one ended with it before there was any that was ready.
  std::optional<int> step();
  void is_up(size_t replica);
  void end(size_t replica);  // at once: it says nothing any more; it starts again like any other
  void stop();               // all of them, in order

 private:
  struct Slot {
    ReplicaCommand command;
    std::unique_ptr<ReplicaProcess> process;
    Stopwatch since;  // it was started, or has ended
    double pause_seconds = 0;
    bool started = false;
  };

  void start(size_t replica);
  void read_lines(size_t replica);
  void plan_restart(size_t replica, int status);

  std::vector<Slot> slots_;
  Front& front_;
  std::function<void(const std::string&)> say_;
  bool any_was_up_ = false;
};

}  // namespace braid
