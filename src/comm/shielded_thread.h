// SPDX-License-Identifier: Apache-2.0
// A thread that takes no signals: those of the process go to the threads that expect them (train/stop_request.h).
#pragma once

#include <csignal>
#include <thread>
#include <utility>

namespace braid {

template <class Act>
std::thread shielded_thread(Act act) {
  sigset_t all, before;
  sigfillset(&all);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigdelset(&all, fault);
  pthread_sigmask(SIG_BLOCK, &all, &before);  // a new thread inherits the mask
  std::thread thread(std::move(act));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace braid
