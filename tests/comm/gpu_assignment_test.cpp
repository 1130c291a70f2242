// SPDX-License-Identifier: Apache-2.0
#include "comm/gpu_assignment.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace braid {
namespace {

const std::vector<GpuInfo> two = {{"NVIDIA H200", "aa", 9, 0, true}, {"NVIDIA H200", "bb", 9, 0, true}};

std::string message_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(GpuAssignment, LocalRankChoosesTheDevice) {
  EXPECT_EQ(assign_gpu(two, 0, 2, {}), 0);
  EXPECT_EQ(assign_gpu(two, 1, 2, {}), 1);
  EXPECT_EQ(assign_gpu({}, 0, 1, {}), -1);
  EXPECT_EQ(assign_gpu(two, 1, 2, {"cpu", false}), -1);
}

TEST(GpuAssignment, MoreRanksThanGpusIsAnErrorUnlessAskedFor) {
  EXPECT_NE(message_of([] { assign_gpu(two, 2, 3, {}); }).find("3 ranks on this host but 2 GPUs"), std::string::npos);
  EXPECT_EQ(assign_gpu(two, 2, 3, {"auto", true}), 0);
}

TEST(GpuAssignment, CudaWithoutAGpuIsAnError) {
  EXPECT_THROW(assign_gpu({}, 0, 1, {"cuda", false}), UsageError);
}

TEST(GpuAssignment, ADeviceWithoutCodeNamesItsCapabilityAndTheRemedy) {
  const std::vector<GpuInfo> old = {{"NVIDIA V100", "cc", 7, 0, false}};
  const std::string message = message_of([&] { assign_gpu(old, 0, 1, {}); });
  EXPECT_NE(message.find("7.0"), std::string::npos);
  EXPECT_NE(message.find("launch/setup --arch 7.0"), std::string::npos);
}

TEST(GpuAssignment, RanksThatShareAGpuAreNamed) {
  const RankPlace a{0, 0, "n1", "cuda:0", "aa", 4}, b{1, 1, "n1", "cuda:0", "aa", 4}, c{2, 0, "n2", "cuda:0", "aa", 4};
  EXPECT_NE(shared_gpu_problem({a, b, c}).find("ranks 0 and 1 on n1"), std::string::npos);
  EXPECT_EQ(shared_gpu_problem({a, c}), "");
}

TEST(Places, RanksThatAreAlikeShareALine) {
  const RankPlace a{0, 0, "n1", "cpu", "", 4}, b{1, 1, "n1", "cpu", "", 4}, c{2, 0, "n2", "cpu", "", 1};
  EXPECT_EQ(describe_places({a, b, c}), "ranks 0-1: n1, cpu, may use 4 cores\nrank 2: n2, cpu, may use 1 core");
}

}  // namespace
}  // namespace braid
