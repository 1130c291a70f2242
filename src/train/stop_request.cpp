// SPDX-License-Identifier: Apache-2.0
#include "train/stop_request.h"

#include <unistd.h>

#include <csignal>

#include "kernels/workers.h"

namespace braid {

namespace {

// A signal handler can reach nothing else.
volatile std::sig_atomic_t received = 0;
struct sigaction previous[3];
constexpr int watched[3] = {SIGUSR1, SIGTERM, SIGINT};

constexpr size_t handler_stack_bytes = 64 << 10;  // a frame with AVX-512 and AMX state takes about 12 KiB

constexpr int interrupted_twice = 130;       // what a shell reports for a program that Ctrl-C ended

void remember(int number) {
  if (number == SIGINT && received == SIGINT) _exit(interrupted_twice);
  received = number;
}

sigset_t watched_set() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : watched) sigaddset(&signals, number);
  return signals;
}

void shield_this_thread() {
  const sigset_t signals = watched_set();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

}  // namespace

void hold_stop_signals() { shield_this_thread(); }

StopRequest::StopRequest() : stack_(handler_stack_bytes) {
  received = 0;
  const stack_t own = {.ss_sp = stack_.data(), .ss_flags = 0, .ss_size = stack_.size()};
  sigaltstack(&own, nullptr);
  kernels::on_each_worker(shield_this_thread);  // a process's signal goes to any thread that takes it
  struct sigaction action = {};
  action.sa_handler = remember;
  action.sa_flags = SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < 3; ++i) sigaction(watched[i], &action, &previous[i]);
  const sigset_t signals = watched_set();
  pthread_sigmask(SIG_UNBLOCK, &signals, &outer_);
}

StopRequest::~StopRequest() {
  pthread_sigmask(SIG_SETMASK, &outer_, nullptr);
  for (int i = 0; i < 3; ++i) sigaction(watched[i], &previous[i], nullptr);
  const stack_t none = {.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
  sigaltstack(&none, nullptr);
}

bool StopRequest::requested() const { return received != 0; }
int StopRequest::signal_number() const { return received; }

}  // namespace braid
