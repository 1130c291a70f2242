// SPDX-License-Identifier: Apache-2.0
#include "cli/stop_signals.h"

#include <signal.h>
#include <unistd.h>

#include "base/error.h"
#include "train/stop_request.h"

namespace braid {

namespace {

constexpr int interrupted_twice = 130;
constexpr timespec look_again = {0, 100'000'000};  // for the end of the thread

sigset_t stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGUSR1, SIGTERM, SIGINT}) sigaddset(&signals, number);
  return signals;
}

}  // namespace

StopSignals::StopSignals() {
  hold_stop_signals();
  thread_ = std::jthread([this](const std::stop_token& stopped) {
    const sigset_t signals = stop_signals();
    while (!stopped.stop_requested()) {
      if (sigtimedwait(&signals, nullptr, &look_again) > 0) take();
    }
  });
}

StopSignals::~StopSignals() {
  thread_.request_stop();
  thread_.join();
}

void StopSignals::take() {
  if (!keeps_) _exit(exit_done);
  if (came_.exchange(true)) _exit(interrupted_twice);
}

}  // namespace braid
