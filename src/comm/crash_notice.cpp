// SPDX-License-Identifier: Apache-2.0
#include "comm/crash_notice.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>

namespace braid {

namespace {

constexpr int watched[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
constexpr int watched_count = sizeof watched / sizeof *watched;
constexpr int longest_hold = 15;  // [s]
constexpr int naps_a_second = 100;

// A signal handler can reach nothing else.
struct sigaction previous[watched_count];
std::atomic<int> crashed{0};
std::atomic<bool> released{false};

void hand_on(int number) {
  for (int i = 0; i < watched_count; ++i) {
    if (watched[i] == number) sigaction(number, &previous[i], nullptr);
  }
  raise(number);  // comes when the handler has returned
}

void hold(int number) {
  const int error = errno;
  int none = 0;
  crashed.compare_exchange_strong(none, number);
  for (int nap = 0; nap < longest_hold * naps_a_second && !released; ++nap) {
    const timespec time = {0, 1000000000 / naps_a_second};
    nanosleep(&time, nullptr);
  }
  hand_on(number);
  errno = error;
}

}  // namespace

CrashNotice::CrashNotice() {
  struct sigaction action = {};
  action.sa_handler = hold;
  action.sa_flags = SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < watched_count; ++i) sigaction(watched[i], &action, &previous[i]);
}

CrashNotice::~CrashNotice() {
  for (int i = 0; i < watched_count; ++i) sigaction(watched[i], &previous[i], nullptr);
}

int crash_signal() { return crashed; }
void let_crash_go() { released = true; }
const char* name_of_signal(int number) { return sigdescr_np(number); }

}  // namespace braid
