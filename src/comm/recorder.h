// SPDX-License-Identifier: Apache-2.0
// A ring of the recent collectives of a communicator: what a rank was doing when something hung.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace braid {

struct RecordedCall {
  int64_t sequence = -1;
  std::string operation;
  Dtype dtype = Dtype::float32;
  size_t count = 0;
  std::chrono::steady_clock::time_point queued;
  Work work;
};

class Recorder {
 public:
  explicit Recorder(size_t size = 256) : ring_(size) {}
  int64_t add(const char* operation, const Buffer& buffer, const Work& work);
  // The oldest call that is not done, or one with sequence -1.
  RecordedCall oldest_pending();
  int64_t completed();  // of those still in the ring and before
  // The last `most` calls, one line each: sequence, operation, size, done or seconds waiting.
  std::string describe(size_t most);

 private:
  std::mutex mutex_;
  std::vector<RecordedCall> ring_;
  int64_t next_ = 0;
};

}  // namespace braid
