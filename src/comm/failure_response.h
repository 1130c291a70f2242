// SPDX-License-Identifier: Apache-2.0
// What happens once a rank is missing or a collective hangs: rank 0 gathers every rank's ring, finds who is to blame,
// writes the file, tells all ranks what to print, and the job ends in bounded time. Where rank 0 itself is missing each
// rank does so for itself.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "comm/heartbeat.h"
#include "comm/recorder.h"

namespace braid {

struct Alarm {
  double waited_seconds = 0;  // of the collective that timed out
  std::string message;        // of an exception out of a collective
};

struct FailureSite {
  int rank = 0;
  std::vector<std::string> hosts;  // of each rank
  std::shared_ptr<CollectiveRecorder> recorder;
  // Makes the launcher end all ranks, and may hang. Null where nothing but _exit ends a rank.
  std::function<void(int exit_code)> abort_job;
};

class FailureResponse {
 public:
  explicit FailureResponse(FailureSite site);
  void connect(Heartbeat& heartbeat) { heartbeat_ = &heartbeat; }

  void set_folder(const std::string& folder);
  void set_abort_seconds(double seconds) { abort_seconds_ = seconds; }
  void on_failure(std::function<void(const std::string&)> hook);  // waits for one that is running

  // Begins the end of the job, on threads of its own, and returns. Only the first call of this or of claim() counts.
  void raise(const Alarm& alarm);
  void received(int rank, const Frame& frame);  // from the heartbeat

  // The right to end this process in another way; false when the job is already being ended.
  bool claim() { return !raised_.exchange(true); }
  // For whoever claimed because this rank failed: prints the message and lets the others end without an alarm of
  // theirs. About a second at most.
  void tell_of_failure(const std::string& message, int code);

  std::string this_rank() const;  // "rank R on HOST"

 private:
  void respond(const Alarm& alarm);
  void respond_for_all(const Alarm& alarm);
  void respond_alone(const Alarm& alarm);
  bool obey_root(const Alarm& alarm);
  void obey(const std::string& line);
  void end_for_other(const std::string& failure);
  std::vector<RankReport> ask_all();
  RankReport own_report() const;
  RankReport report_of(const PeerContact& peer);
  std::string conclude(const std::vector<RankReport>& reports, const Alarm& alarm, const std::string& file);
  void run_hook(const std::string& line);
  bool root_answers() const;
  std::vector<int> answering() const;
  std::string from_here(const std::string& text) const { return this_rank() + ": " + text; }
  [[noreturn]] void end(double patience, int code) const;  // waits for others to end the job, then does it itself
  template <class Condition>
  bool wait(double seconds, const Condition& condition);
  void start(std::function<void()> act);

  FailureSite site_;
  Heartbeat* heartbeat_ = nullptr;
  std::atomic<bool> raised_{false};
  std::atomic<double> abort_seconds_{10};

  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::string folder_;
  std::map<int, std::string> rings_;
  std::set<int> heard_;
  std::optional<std::string> verdict_;
  bool ending_ = false;

  std::mutex hook_mutex_;
  std::function<void(const std::string&)> hook_;
};

}  // namespace braid
