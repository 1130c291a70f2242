// SPDX-License-Identifier: Apache-2.0
#include "comm/watchdog.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <iostream>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "comm/crash_notice.h"
#include "comm/failure_response.h"
#include "comm/heartbeat.h"
#include "comm/shielded_thread.h"

namespace braid {

namespace {

constexpr std::chrono::milliseconds poll_interval(200);

// For a thread of a process that others are ending.
[[noreturn]] void wait_for_the_end() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

void warn_of_unwatched(const std::vector<HeartbeatPeer>& peers, const std::vector<std::string>& hosts) {
  for (size_t rank = 1; rank < hosts.size(); ++rank) {
    const auto is_this = [&](const HeartbeatPeer& peer) { return peer.rank == static_cast<int>(rank); };
    if (std::any_of(peers.begin(), peers.end(), is_this)) continue;
    std::cerr << str("warning: rank ", rank, " on ", hosts[rank], " cannot reach rank 0 on ", hosts[0],
                     " over TCP: if it stops, only time-outs of collectives will tell\n");
  }
}

}  // namespace

struct Watchdog::State {
  State(Communicator& host, const FailureSite& site) : recorder(site.recorder), response(site) {
    std::vector<HeartbeatPeer> peers = meet_for_heartbeat(host);
    if (host.rank() == 0) warn_of_unwatched(peers, site.hosts);
    HeartbeatHandlers handlers;
    handlers.beat = [this] {
      const auto last = recorder->last();
      return last ? beat_text(*last) : std::string("{}");
    };
    handlers.lost = [this](int, Contact) { response.raise({}); };
    handlers.received = [this](int rank, const Frame& frame) { response.received(rank, frame); };
    handlers.tick = [this] { check(); };
    heartbeat = std::make_unique<Heartbeat>(std::move(peers), std::move(handlers));
    response.connect(*heartbeat);
    heartbeat->start();
    poller = shielded_thread([this] { poll(); });
  }

  void check() {
    if (const int number = crash_signal()) {
      response.raise({0, str(response.this_rank(), " crashed: ", name_of_signal(number))});
      return;
    }
    const auto waiting = recorder->oldest_waiting();
    if (!waiting) return;
    const auto since = std::max(waiting->since, heartbeat->awake_since());
    const double waited = std::chrono::duration<double>(CollectiveRecorder::Clock::now() - since).count();
    if (waited > (steady ? steady_seconds : first_seconds)) response.raise({waited, ""});
  }

  // May hang in a driver, so the heartbeat's thread does not do it.
  void poll() {
    std::unique_lock lock(mutex);
    while (!ended.wait_for(lock, poll_interval, [&] { return ending; })) {
      lock.unlock();
      recorder->poll();
      lock.lock();
    }
  }

  void stop() {
    if (!response.claim()) wait_for_the_end();
    heartbeat->stop();
    {
      const std::lock_guard lock(mutex);
      ending = true;
    }
    ended.notify_all();
    poller.join();
  }

  std::shared_ptr<CollectiveRecorder> recorder;
  FailureResponse response;
  std::unique_ptr<Heartbeat> heartbeat;
  std::atomic<bool> steady{false};
  std::atomic<double> first_seconds{1800}, steady_seconds{300};
  std::mutex mutex;
  std::condition_variable ended;
  bool ending = false;
  std::thread poller;
  CrashNotice crash_notice;
};

Watchdog::Watchdog() = default;

Watchdog::Watchdog(Communicator& host, FailureSite site) : state_(std::make_unique<State>(host, site)) {}

Watchdog::~Watchdog() {
  if (state_) state_->stop();
}

void Watchdog::set_timeouts(const WatchdogTimeouts& timeouts) {
  if (!state_) return;
  state_->first_seconds = timeouts.first_step;
  state_->steady_seconds = timeouts.steady;
  state_->heartbeat->set_timeout(timeouts.heartbeat);
  state_->response.set_abort_seconds(timeouts.abort);
}

void Watchdog::set_folder(const std::string& folder) {
  if (state_) state_->response.set_folder(folder);
}

void Watchdog::enter_steady_state() {
  if (state_) state_->steady = true;
}

void Watchdog::leave_steady_state() {
  if (state_) state_->steady = false;
}

void Watchdog::on_failure(std::function<void(const std::string&)> hook) {
  if (state_) state_->response.on_failure(std::move(hook));
}

void Watchdog::report_failure(const std::string& message, int code) {
  if (!state_) {
    std::cerr << message << std::endl;
    return;
  }
  FailureResponse& response = state_->response;
  state_->recorder->poll();
  if (state_->recorder->any_failed()) {
    response.raise({0, response.this_rank() + " failed: " + message});
    wait_for_the_end();
  }
  if (!response.claim()) wait_for_the_end();
  response.tell_of_failure(message, code);
}

}  // namespace braid
