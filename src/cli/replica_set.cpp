// SPDX-License-Identifier: Apache-2.0
#include "cli/replica_set.h"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <thread>

#include "base/error.h"

namespace braid {

namespace {

constexpr double first_pause = 1, longest_pause = 30;  // before a replica starts again: twice as long each time
constexpr double steady_seconds = 60;                  // one that has lived so long begins with the first pause again
constexpr double stop_seconds = 10;
constexpr const char *listening = "listening on ", *ready = "ready on ";  // how a server says where (cli/serve.cpp)

}  // namespace

ReplicaSet::ReplicaSet(std::vector<ReplicaCommand> commands, Front& front, std::function<void(const std::string&)> say)
    : front_(front), say_(std::move(say)) {
  for (ReplicaCommand& command : commands) slots_.emplace_back().command = std::move(command);
}

void ReplicaSet::start(size_t replica) {
  Slot& slot = slots_[replica];
  slot.process = std::make_unique<ReplicaProcess>(slot.command);
  slot.since = Stopwatch();
  if (std::exchange(slot.started, true)) front_.restarted(replica);
}

void ReplicaSet::read_lines(size_t replica) {
  for (const std::string& line : slots_[replica].process->new_lines()) {
    if (line.starts_with(listening)) {
      const std::string url = line.substr(std::string(listening).size());
      front_.place(replica, parse_upstream_url("replica", url.substr(0, url.find(','))));
    } else if (!line.starts_with(ready)) {
      say_(str("replica ", replica, ": ", line));
    }
  }
}

void ReplicaSet::plan_restart(size_t replica, int status) {
  Slot& slot = slots_[replica];
  front_.lost(replica);
  const bool steady = slot.since.seconds() > steady_seconds || slot.pause_seconds == 0;
  slot.pause_seconds = steady ? first_pause : std::min(2 * slot.pause_seconds, longest_pause);
  slot.since = Stopwatch();
  slot.process = nullptr;
  say_(str("replica ", replica, " ended with ", ending_of(status), "; it starts again in ", slot.pause_seconds, " s"));
}

std::optional<int> ReplicaSet::step() {
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (!slot.process) {
      const bool may_start = i == 0 || any_was_up_;
      if (may_start && slot.since.seconds() >= slot.pause_seconds) start(i);
      continue;
    }
    const std::optional<int> status = slot.process->ended();
    read_lines(i);
    if (!status) continue;
    if (!any_was_up_ && WIFEXITED(*status)) return std::max(WEXITSTATUS(*status), 1);
    plan_restart(i, *status);
  }
  return std::nullopt;
}

void ReplicaSet::is_up(size_t replica) {
  any_was_up_ = true;
  say_(str("replica ", replica, " is ready"));
}

void ReplicaSet::end(size_t replica) {
  if (slots_[replica].process) slots_[replica].process->send(SIGKILL);
}

void ReplicaSet::stop() {
  for (const Slot& slot : slots_) {
    if (slot.process) slot.process->send(SIGTERM);
  }
  const auto gone = [](const Slot& slot) { return !slot.process || slot.process->ended(); };
  for (const Stopwatch watch; watch.seconds() < stop_seconds;) {
    if (std::all_of(slots_.begin(), slots_.end(), gone)) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  slots_.clear();
}

}  // namespace braid
