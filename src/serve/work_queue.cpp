// SPDX-License-Identifier: Apache-2.0
#include "serve/work_queue.h"

namespace braid {

WorkQueue::WorkQueue() : thread_([this](const std::stop_token& stopped) { run(stopped); }) {}

WorkQueue::~WorkQueue() {
  thread_.request_stop();
  thread_.join();
}

void WorkQueue::push(std::function<void()> act) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(act));
  }
  changed_.notify_one();
}

void WorkQueue::run(const std::stop_token& stopped) {
  while (!stopped.stop_requested()) {
    std::function<void()> next;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stopped, [&] { return !waiting_.empty(); })) return;
      next = std::move(waiting_.front());
      waiting_.pop_front();
    }
    next();
  }
}

}  // namespace braid
