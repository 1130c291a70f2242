// SPDX-License-Identifier: Apache-2.0
#include "train/stop_request.h"

#include <csignal>

namespace braid {

namespace {

// A signal handler can reach nothing else.
volatile std::sig_atomic_t received = 0;
struct sigaction previous[3];
constexpr int watched[3] = {SIGUSR1, SIGTERM, SIGINT};

void remember(int number) { received = number; }

}  // namespace

StopRequest::StopRequest() {
  received = 0;
  struct sigaction action = {};
  action.sa_handler = remember;
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < 3; ++i) sigaction(watched[i], &action, &previous[i]);
}

StopRequest::~StopRequest() {
  for (int i = 0; i < 3; ++i) sigaction(watched[i], &previous[i], nullptr);
}

bool StopRequest::requested() const { return received != 0; }
int StopRequest::signal_number() const { return received; }

}  // namespace braid
