// SPDX-License-Identifier: Apache-2.0
#include "experiments/hardware.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

namespace braid {
namespace {

RankPlace place(const std::string& host, const std::string& device, const std::string& id, int cpus) {
  RankPlace place;
  place.host = host;
  place.device = device;
  place.device_id = id;
  place.cpus = cpus;
  return place;
}

TEST(Hardware, CountsEachGpuOnce) {
  const std::vector<RankPlace> places = {place("a", "cuda:0 NVIDIA H200", "x", 8), place("a", "cuda:1 NVIDIA H200", "y", 8),
                                         place("b", "cuda:0 NVIDIA H200", "z", 8), place("b", "cuda:0 NVIDIA H200", "z", 8)};
  EXPECT_EQ(hardware_of(places), "3 x NVIDIA H200");
}

TEST(Hardware, NamesTheProcessorWhereThereIsNoGpu) {
  EXPECT_EQ(hardware_of({place("a", "cpu", "", 1)}), processor_name() + ", 1 core");
  EXPECT_EQ(hardware_of({place("a", "cpu", "", 4), place("b", "cpu", "", 4)}), "2 hosts of " + processor_name() + ", 4 cores");
  EXPECT_FALSE(processor_name().empty());
}

TEST(Hardware, WeightsBeyondCachesAreMoreThanTheLastOneHolds) {
  const long last = sysconf(_SC_LEVEL3_CACHE_SIZE);  // 0 where glibc does not know
  EXPECT_GE(bytes_beyond_caches(), std::max(int64_t{256} << 20, int64_t{last}));
}

}  // namespace
}  // namespace braid
