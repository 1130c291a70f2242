// SPDX-License-Identifier: Apache-2.0
// A thread that does one thing after another: what takes too long for the server's own.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace braid {

class WorkQueue {
 public:
  WorkQueue();
  ~WorkQueue();  // what has not begun is left

  void push(std::function<void()> act);  // it may not throw

 private:
  void run(const std::stop_token& stopped);

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::function<void()>> waiting_;
  std::jthread thread_;
};

}  // namespace braid
