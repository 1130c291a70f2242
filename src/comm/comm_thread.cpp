// SPDX-License-Identifier: Apache-2.0
#include "comm/comm_thread.h"

#include <sys/prctl.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"

namespace braid {

namespace {

using std::chrono::microseconds;

// While messages move the thread tests without pause. After so many fruitless tests it sleeps in between, longer the
// longer nothing has moved: a wait grows by a quarter at most, and ranks that outnumber the cores do not steal the time
// that the others compute in.
constexpr int patient_tests = 64;
constexpr microseconds shortest_nap(5), longest_nap(200);

using Clock = std::chrono::steady_clock;

Clock::duration nap_after(Clock::duration fruitless) {
  return std::clamp<Clock::duration>(fruitless / 4, shortest_nap, longest_nap);
}

}  // namespace

void check_mpi(int code, const std::string& what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw Error(str("MPI: ", what, ": ", std::string(text, static_cast<size_t>(length))));
}

void MpiJob::wait() {
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [&] { return done(); });
  if (error_) std::rethrow_exception(error_);
}

void MpiJob::post_more() {
  const size_t moving = next_ == Next::while_one_moves ? 1 : 0;
  while (more_ && requests_.size() <= moving) more_ = post_(requests_);
}

MpiJob::Progress MpiJob::test() {
  try {
    int ended = 0;
    std::vector<int> which(requests_.size());
    check_mpi(MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &ended, which.data(),
                           MPI_STATUSES_IGNORE), name_);
    std::erase(requests_, MPI_REQUEST_NULL);
    post_more();
    if (!requests_.empty()) return ended > 0 ? Progress::some : Progress::none;
    complete(nullptr);
  } catch (...) {
    more_ = false;
    complete(std::current_exception());
  }
  return Progress::complete;
}

void MpiJob::complete(std::exception_ptr error) {
  const std::lock_guard lock(mutex_);
  error_ = std::move(error);
  done_.store(true, std::memory_order_release);
  ended_.notify_all();
}

CommThread::CommThread() : thread_([this] { run(); }) {}

CommThread::~CommThread() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    queued_.notify_all();
  }
  thread_.join();
}

void CommThread::submit(std::shared_ptr<MpiJob> job) {
  const std::lock_guard lock(mutex_);
  queue_.push_back(std::move(job));
  queued_.notify_all();
}

// Waits for a job when nothing is under way.
void CommThread::take_queued(bool idle) {
  std::unique_lock lock(mutex_);
  if (idle) queued_.wait(lock, [&] { return !queue_.empty() || ending_; });
  waiting_.insert(waiting_.end(), queue_.begin(), queue_.end());
  queue_.clear();
}

// Moves to under_way_ what no earlier job of its lane holds back; their first test posts them.
void CommThread::start_ready() {
  std::vector<MpiJob::Lane> held;
  for (const auto& job : under_way_) {
    if (job->more_ && job->lane_ != MpiJob::no_lane) held.push_back(job->lane_);
  }
  const auto is_held = [&](MpiJob::Lane lane) { return std::find(held.begin(), held.end(), lane) != held.end(); };
  std::erase_if(waiting_, [&](const std::shared_ptr<MpiJob>& job) {
    const MpiJob::Lane lane = job->lane_;
    const bool free = !is_held(MpiJob::alone) && (lane == MpiJob::alone ? held.empty() : !is_held(lane));
    if (lane != MpiJob::no_lane) held.push_back(lane);
    if (free) under_way_.push_back(job);
    return free;
  });
}

// Whether anything moved.
bool CommThread::test_all() {
  bool moved = false;
  std::erase_if(under_way_, [&](const auto& job) {
    const MpiJob::Progress progress = job->test();
    moved = moved || progress != MpiJob::Progress::none;
    return progress == MpiJob::Progress::complete;
  });
  return moved;
}

void CommThread::run() {
  prctl(PR_SET_TIMERSLACK, 1000);  // [ns]; by default a sleep of this thread lasts 50 microseconds longer than asked
  int fruitless = 0;
  auto moved = Clock::now();
  while (!abandoned_) {
    take_queued(under_way_.empty() && waiting_.empty());  // a call without messages has ended at once, its follower waits
    start_ready();
    if (under_way_.empty()) return;  // ending, and nothing is left
    if (test_all()) {
      fruitless = 0;
      moved = Clock::now();
    } else if (++fruitless > patient_tests) {
      std::this_thread::sleep_for(nap_after(Clock::now() - moved));
    }
  }
}

}  // namespace braid
