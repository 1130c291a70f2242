// SPDX-License-Identifier: Apache-2.0
// The last calls between ranks that this process has made, so that a job that hangs can say where. The recorder keeps
// the handle of each unfinished call, and poll() asks it, so that nobody has to wait for a call to know its state.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace braid {

enum class CallState { waiting, done, failed };
const char* name_of(CallState state);

struct CollectiveRecord {
  std::string communicator;  // "host", "data", "host/split-1-0", …
  // Of the collectives of its communicator, from 1. A message between two ranks has that of the collective before it.
  int64_t sequence = 0;
  std::string operation;  // "all_reduce", "send", …
  size_t count = 0;       // elements of the input
  Dtype dtype = Dtype::uint8;
  int peer = -1;         // the root, or the other rank of a message, as numbered in the communicator
  bool message = false;  // between two ranks
  double start = 0;      // unix time [s]
  double end = 0;        // when it was first seen finished, unix time [s]; 0 while it waits
  CallState state = CallState::waiting;

  size_t bytes() const { return count * size_of(dtype); }
};

std::string describe_call(const CollectiveRecord& record);  // "all_reduce of 25.0 MiB float32"
std::string describe(const CollectiveRecord& record);       // "all_reduce of 25.0 MiB float32 on data, sequence 123"

struct CommunicatorRecord {
  std::string name;
  int size = 0;
  bool patient = false;  // its calls never time out
  int64_t sequence = 0;  // of its last collective, 0 before the first
};

struct RingSnapshot {
  std::vector<CommunicatorRecord> communicators;  // those that exist now
  std::vector<CollectiveRecord> entries;          // oldest first
};

// Thread-safe; one mutex, which is never held while a call is asked for its state.
class CollectiveRecorder {
 public:
  using Clock = std::chrono::steady_clock;
  using Channel = int;      // a communicator
  using Ticket = uint64_t;  // a call
  struct Call {
    const char* operation;  // a literal
    size_t count = 0;
    Dtype dtype = Dtype::uint8;
    int peer = -1;
    bool message = false;
  };
  struct Waiting {
    CollectiveRecord record;
    Clock::time_point since;
  };

  explicit CollectiveRecorder(size_t entries = 1024);

  // A name that was used before gets a number behind it. All ranks must open theirs in the same order.
  Channel open(const std::string& name, int size, bool patient);
  void close(Channel channel);  // its unfinished calls are watched no longer
  std::string name(Channel channel) const;

  // begin() before the call, then attach() with what it returned, or finish() when it has already ended.
  Ticket begin(Channel channel, const Call& call);
  void attach(Ticket ticket, const Work& work);
  void finish(Ticket ticket, CallState state);

  // Asks all unfinished calls for their state; may enter CUDA.
  void poll();

  RingSnapshot snapshot() const;
  std::optional<CollectiveRecord> last() const;
  std::optional<Waiting> oldest_waiting() const;  // of communicators that are not patient
  bool any_failed() const;
  // What calls have been given so far, on all communicators: elements of their inputs, of receive those of its output.
  int64_t bytes() const;

 private:
  struct Entry {
    Ticket ticket = 0;  // 0: empty
    Channel channel = 0;
    int64_t sequence = 0;
    Call call{""};
    Clock::time_point start, end;
    CallState state = CallState::waiting;
    std::optional<Work> work;
  };
  using Asked = std::pair<Ticket, Work>;

  Entry& slot(Ticket ticket) { return ring_[ticket % ring_.size()]; }
  const Entry& slot(Ticket ticket) const { return ring_[ticket % ring_.size()]; }
  void end_entry(Ticket ticket, CallState state, Clock::time_point now);
  void settle(const std::vector<Asked>& asked);
  std::vector<Asked> unfinished(size_t most) const;
  CollectiveRecord record_of(const Entry& entry) const;
  double unix_time(Clock::time_point time) const;

  mutable std::mutex mutex_;
  std::vector<Entry> ring_;
  std::deque<Ticket> unfinished_;
  std::vector<CommunicatorRecord> channels_;
  std::vector<bool> open_;
  std::map<std::string, int> used_names_;
  Ticket next_ = 1;
  int64_t bytes_ = 0;
  bool any_failed_ = false;
  double clock_offset_;  // from Clock to unix time [s]
};

}  // namespace braid
