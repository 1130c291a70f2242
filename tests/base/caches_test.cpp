// SPDX-License-Identifier: Apache-2.0
#include "base/caches.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <fstream>

#include "../store/temp_folder.h"
#include "base/error.h"

namespace braid {
namespace {

TEST(Caches, AreAtLeastWhatTheCLibraryKnowsOf) {
  EXPECT_GE(last_caches_bytes(), int64_t{sysconf(_SC_LEVEL3_CACHE_SIZE)});  // 0 where it does not know
}

TEST(Caches, CountOnceForAllCoresThatShareOne) {
  const TempFolder system;
  cpu_set_t mine;
  ASSERT_EQ(sched_getaffinity(0, sizeof mine, &mine), 0);
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &mine)) cores.push_back(core);
  }
  const auto put = [&](int core, const std::string& shared) {
    const std::string folder = system / str("cpu", core, "/cache/index3");
    std::filesystem::create_directories(folder);
    std::ofstream(folder + "/size") << "32768K\n";
    std::ofstream(folder + "/shared_cpu_list") << shared << "\n";
  };
  EXPECT_EQ(last_caches_bytes(system.path()), 0);
  for (const int core : cores) put(core, "0-7");
  EXPECT_EQ(last_caches_bytes(system.path()), 32 << 20);
  put(cores.back(), "8-15");
  EXPECT_EQ(last_caches_bytes(system.path()), (cores.size() > 1 ? 64 : 32) << 20);
}

}  // namespace
}  // namespace braid
