// SPDX-License-Identifier: Apache-2.0
// The one thread of a process that enters MPI for data. Callers queue jobs and never enter MPI themselves, so messages
// move while they compute (Debian's Open MPI grants MPI_THREAD_MULTIPLE but makes no progress by itself).
#pragma once

#include <mpi.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.h"

namespace braid {

// One queued call: `post` starts nonblocking MPI requests on the comm thread and says whether it wants to be called for
// more of them; the call is done when all have completed.
class MpiJob : public Work::State {
 public:
  using Post = std::function<bool(std::vector<MPI_Request>&)>;
  // Jobs of one lane are posted in order, each in full before the next, as MPI asks of the collectives of a communicator.
  using Lane = uint64_t;
  static constexpr Lane no_lane = 0;      // posted at once
  static constexpr Lane alone = ~Lane{};  // for a call that blocks: after all before it are posted, before any later one
  // When posts that follow the first come: one request is left to move while another's result is added up, or none where a
  // post reads what the one before it received.
  enum class Next { while_one_moves, when_none_moves };
  MpiJob(std::string name, Lane lane, Post post, Next next = Next::while_one_moves)
      : name_(std::move(name)), lane_(lane), post_(std::move(post)), next_(next) {}

  void wait() override;
  void synchronize() override { wait(); }
  bool done() override { return done_.load(std::memory_order_acquire); }

 private:
  friend class CommThread;
  void post_more();
  enum class Progress { none, some, complete };
  Progress test();
  void complete(std::exception_ptr error);

  std::string name_;  // "all_reduce of 25 MiB float32, sequence 17"
  Lane lane_;
  Post post_;
  Next next_;
  bool more_ = true;  // to be posted
  std::vector<MPI_Request> requests_;
  std::atomic<bool> done_{false};
  std::exception_ptr error_;
  std::mutex mutex_;
  std::condition_variable ended_;
};

class CommThread {
 public:
  CommThread();
  ~CommThread();  // finishes what is queued
  CommThread(const CommThread&) = delete;
  CommThread& operator=(const CommThread&) = delete;

  void submit(std::shared_ptr<MpiJob> job);
  // Leaves what is queued undone: for a process that is about to end the whole job.
  void abandon() { abandoned_ = true; }

 private:
  void run();
  void take_queued(bool idle);
  void start_ready();
  bool test_all();

  std::mutex mutex_;
  std::condition_variable queued_;
  std::deque<std::shared_ptr<MpiJob>> queue_;       // handed over, not yet taken
  std::vector<std::shared_ptr<MpiJob>> waiting_;    // taken; of the comm thread alone, as are those
  std::vector<std::shared_ptr<MpiJob>> under_way_;  // that have requests
  bool ending_ = false;
  std::atomic<bool> abandoned_{false};
  std::thread thread_;
};

// Throws Error with MPI's own text when `code` is not MPI_SUCCESS.
void check_mpi(int code, const std::string& what);

}  // namespace braid
