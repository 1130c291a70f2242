// SPDX-License-Identifier: Apache-2.0
// Replaces operator new so that a test can have one allocation fail. To be included by one source of a program, which is
// linked with -rdynamic.
#pragma once

#include <dlfcn.h>
#include <execinfo.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string_view>

extern "C" char __executable_start, etext;

namespace braid::test {

inline std::atomic<int64_t> allocations_left = -1;  // before the one that fails; below 0: none does
inline thread_local bool is_spared = false;         // allocations of this thread do not count

// The JSON library's destructor allocates a stack for what it takes apart (nlohmann-json 3.11, json_value::destroy), so
// that a failure there ends the program: nobody can catch it.
inline bool takes_json_apart() {
  void* frames[16];
  const int count = backtrace(frames, 16);
  for (int i = 0; i < count; ++i) {
    Dl_info info = {};
    if (!dladdr(frames[i], &info) || !info.dli_sname) continue;
    const std::string_view name(info.dli_sname);
    const bool destroys = name.find("10json_value7destroy") != name.npos || name.ends_with("D1Ev") || name.ends_with("D2Ev");
    if (destroys && name.find("nlohmann") != name.npos) return true;
  }
  return false;
}

// Only what this program's own code asks for, not what shared libraries do inside: those of PyTorch have places where
// nothing may throw.
inline bool fails(const void* caller) {
  if (allocations_left.load(std::memory_order_relaxed) < 0 || is_spared) return false;
  if (caller < static_cast<void*>(&__executable_start) || caller >= static_cast<void*>(&etext)) return false;
  return allocations_left.fetch_sub(1) == 0 && !takes_json_apart();
}

}  // namespace braid::test

void* operator new(std::size_t bytes) {
  void* const memory = braid::test::fails(__builtin_return_address(0)) ? nullptr : std::malloc(bytes ? bytes : 1);
  if (!memory) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
