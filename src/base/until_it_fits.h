// SPDX-License-Identifier: Apache-2.0
// For what must not be left undone because memory was short for a moment: the end of a request, its place in the counts.
#pragma once

#include <chrono>
#include <new>
#include <thread>

namespace braid {

// What `act` returns, which is tried again for as long as it throws bad_alloc. It must have changed nothing then.
template <class Act>
auto until_it_fits(const Act& act) {
  while (true) {
    try {
      return act();
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

}  // namespace braid
