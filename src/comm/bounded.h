// SPDX-License-Identifier: Apache-2.0
// Calls that may hang, given a bound. For processes that are about to end: what hangs is left behind.
#pragma once

#include <chrono>
#include <future>
#include <memory>

#include "comm/shielded_thread.h"

namespace braid {

// Runs `act`, which gives a bool, on a thread of its own; false also when it has not ended after so many seconds or has
// thrown. What `act` refers to must outlive it, so it should hold copies.
template <class Act>
bool within(double seconds, Act act) {
  auto done = std::make_shared<std::promise<bool>>();
  auto result = done->get_future();
  shielded_thread([done, act] {
    try {
      done->set_value(act());
    } catch (...) {
      done->set_value(false);
    }
  }).detach();
  return result.wait_for(std::chrono::duration<double>(seconds)) == std::future_status::ready && result.get();
}

}  // namespace braid
