// SPDX-License-Identifier: Apache-2.0
// One job at a time in a run's folder. (Ranks that see another folder: tests/faults/test_resume.py.)
#include "experiments/run_lock.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <thread>

#include "../store/temp_folder.h"
#include "../store/thrown.h"
#include "base/clock.h"

namespace braid {
namespace {

TEST(RunLock, ASecondJobIsRefusedAndTheFirstNamed) {
  const TempFolder folder;
  const RunLock first(folder.path());
  const Stopwatch watch;
  const std::string message = thrown_message([&] { RunLock second(folder.path()); });
  EXPECT_LT(watch.seconds(), 10);
  EXPECT_TRUE(contains(message, str(folder.path(), ": in use by process ", getpid(), " on ", host_name()))) << message;
  EXPECT_THROW(RunLock third(folder.path()), UsageError);
}

TEST(RunLock, IsFreeOnceItsHolderHasGone) {
  const TempFolder folder;
  { const RunLock first(folder.path()); }
  EXPECT_NO_THROW(RunLock second(folder.path()));
}

TEST(RunLock, GoesWithTheObjectThatItIsMovedTo) {
  const TempFolder folder;
  RunLock kept;
  {
    RunLock first(folder.path());
    kept = std::move(first);
  }
  EXPECT_THROW(RunLock second(folder.path()), UsageError);
}

TEST(RunLock, WaitsAMomentForAJobThatIsJustEnding) {
  const TempFolder folder;
  std::optional<RunLock> first(folder.path());
  std::thread ending([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    first.reset();
  });
  EXPECT_NO_THROW(RunLock second(folder.path()));
  ending.join();
}

TEST(RunLock, OfAFolderThatIsNotThereIsAUsageError) {
  EXPECT_THROW(RunLock lock("/no/such/folder"), UsageError);
}

}  // namespace
}  // namespace braid
