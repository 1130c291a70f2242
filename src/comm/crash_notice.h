// SPDX-License-Identifier: Apache-2.0
// A thread that crashes is held for a while before its process dies, so that the watchdog's threads can still tell the
// other ranks what this one was doing: MPI libraries crash where ranks pass different sizes.
#pragma once

namespace braid {

// RAII over the handlers of SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT; those before get the signal in the end. One at
// a time in a process.
class CrashNotice {
 public:
  CrashNotice();
  ~CrashNotice();
  CrashNotice(const CrashNotice&) = delete;
  CrashNotice& operator=(const CrashNotice&) = delete;
};

int crash_signal();   // that this process is about to die of, 0 when none
void let_crash_go();  // everything is told: the process may die
const char* name_of_signal(int number);

}  // namespace braid
