// SPDX-License-Identifier: Apache-2.0
#include "comm/comm_thread.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"

namespace braid {

namespace {

// While messages move the thread tests without pause; after so many fruitless tests it sleeps in between, so that ranks
// that outnumber the cores do not steal the time that the others compute in.
constexpr int patient_tests = 64;
constexpr auto nap = std::chrono::microseconds(50);

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

void MpiJob::start() {
  try {
    post_(requests_);
  } catch (...) {
    complete(std::current_exception());
  }
}

bool MpiJob::test() {
  if (done()) return true;
  try {
    int all = 0;
    check_mpi(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &all, MPI_STATUSES_IGNORE), name_);
    if (!all) return false;
    complete(nullptr);
  } catch (...) {
    complete(std::current_exception());
  }
  return true;
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

// Posts queued jobs in order; waits for one when nothing is under way.
void CommThread::take_queued(bool idle) {
  std::deque<std::shared_ptr<MpiJob>> fresh;
  {
    std::unique_lock lock(mutex_);
    if (idle) queued_.wait(lock, [&] { return !queue_.empty() || ending_; });
    fresh.swap(queue_);
  }
  for (std::shared_ptr<MpiJob>& job : fresh) {
    job->start();
    under_way_.push_back(std::move(job));
  }
}

void CommThread::run() {
  int fruitless = 0;
  while (!abandoned_) {
    take_queued(under_way_.empty());
    const size_t before = under_way_.size();
    if (before == 0) return;  // ending, and nothing is left
    std::erase_if(under_way_, [](const auto& job) { return job->test(); });
    fruitless = under_way_.size() < before ? 0 : fruitless + 1;
    if (fruitless > patient_tests) std::this_thread::sleep_for(nap);
  }
}

}  // namespace braid
