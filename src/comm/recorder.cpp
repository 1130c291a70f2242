// SPDX-License-Identifier: Apache-2.0
#include "comm/recorder.h"

#include <algorithm>

#include "base/error.h"

namespace braid {

int64_t Recorder::add(const char* operation, const Buffer& buffer, const Work& work) {
  const std::lock_guard lock(mutex_);
  ring_[static_cast<size_t>(next_) % ring_.size()] = {next_,       operation, buffer.dtype, buffer.count,
                                                      std::chrono::steady_clock::now(), work};
  return next_++;
}

RecordedCall Recorder::oldest_pending() {
  const std::lock_guard lock(mutex_);
  const int64_t first = std::max<int64_t>(0, next_ - static_cast<int64_t>(ring_.size()));
  for (int64_t i = first; i < next_; ++i) {
    RecordedCall& call = ring_[static_cast<size_t>(i) % ring_.size()];
    if (!call.work.done()) return call;
  }
  return {};
}

int64_t Recorder::completed() {
  const RecordedCall pending = oldest_pending();
  const std::lock_guard lock(mutex_);
  return pending.sequence < 0 ? next_ : pending.sequence;
}

std::string Recorder::describe(size_t most) {
  const std::lock_guard lock(mutex_);
  std::string text;
  const int64_t shown = std::min<int64_t>(next_, static_cast<int64_t>(std::min(most, ring_.size())));
  for (int64_t i = next_ - shown; i < next_; ++i) {
    RecordedCall& call = ring_[static_cast<size_t>(i) % ring_.size()];
    const double waited = std::chrono::duration<double>(std::chrono::steady_clock::now() - call.queued).count();
    text += str("  #", call.sequence, " ", call.operation, " ", call.count, " ", name_of(call.dtype), ": ",
                call.work.done() ? std::string("done") : str("waiting for ", int64_t(waited), " s"), "\n");
  }
  return text;
}

}  // namespace braid
