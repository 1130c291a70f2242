// SPDX-License-Identifier: Apache-2.0
// One job at a time in a run's folder. (Ranks that see another folder: tests/faults/test_resume.py.)
#include "experiments/run_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <thread>

#include "../store/temp_folder.h"
#include "../store/thrown.h"
#include "base/clock.h"

namespace braid {
namespace {

bool is_held(const TempFolder& folder) {
  const int descriptor = open((folder / "run.lock").c_str(), O_RDWR);
  const bool held = descriptor >= 0 && flock(descriptor, LOCK_EX | LOCK_NB) != 0;
  close(descriptor);
  return held;
}

TEST(RunLock, ASecondJobIsRefusedAndTheFirstNamed) {
  const TempFolder folder;
  const RunLock first(folder.path());
  const Stopwatch watch;
  try {
    const RunLock second(folder.path());
    FAIL() << "two jobs hold the folder";
  } catch (const UsageError& error) {
    const std::string named = str(folder.path(), ": in use by process ", getpid(), " on ", host_name());
    EXPECT_TRUE(contains(error.what(), named)) << error.what();
  }
  EXPECT_LT(watch.seconds(), 10);
  EXPECT_TRUE(is_held(folder));
}

TEST(RunLock, IsFreeOnceItsHolderHasGone) {
  const TempFolder folder;
  { const RunLock first(folder.path()); }
  EXPECT_FALSE(is_held(folder));
  EXPECT_NO_THROW(RunLock second(folder.path()));
}

TEST(RunLock, GoesWithTheObjectThatItIsMovedTo) {
  const TempFolder folder;
  RunLock kept;
  {
    RunLock first(folder.path());
    kept = std::move(first);
  }
  EXPECT_TRUE(is_held(folder));
  kept = RunLock();
  EXPECT_FALSE(is_held(folder));
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

TEST(RunLock, OfAFolderThatIsNotThereIsAUsageError) { EXPECT_THROW(RunLock lock("/no/such/folder"), UsageError); }

}  // namespace
}  // namespace braid
