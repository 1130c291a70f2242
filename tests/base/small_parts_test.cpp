// SPDX-License-Identifier: Apache-2.0
// Clock, memory limits, text table, the GPU probe, and what a process knows of its start.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/cgroup.h"
#include "base/clock.h"
#include "base/gpu_probe.h"
#include "base/process.h"
#include "base/text_table.h"

namespace braid {
namespace {

namespace fs = std::filesystem;

class FakeRoot : public testing::Test {
 protected:
  FakeRoot() : root_(testing::TempDir() + "braid-root-" + std::to_string(getpid())) { fs::remove_all(root_); }
  ~FakeRoot() override { fs::remove_all(root_); }
  void put(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text << "\n";
  }
  std::string problem() const { return driver_problem(probe_gpu(root_.string())); }
  fs::path root_;
};

TEST_F(FakeRoot, NoHardwareIsNoProblem) {
  put("sys/bus/pci/devices/0/vendor", "0x8086");
  put("sys/bus/pci/devices/0/class", "0x030000");
  EXPECT_EQ(problem(), "");
  EXPECT_FALSE(probe_gpu(root_.string()).hardware);
}

TEST_F(FakeRoot, HardwareWithoutADriverIsNamed) {
  put("sys/bus/pci/devices/0/vendor", "0x10de");
  put("sys/bus/pci/devices/0/class", "0x030200");
  EXPECT_NE(problem().find("no loaded driver"), std::string::npos);
  EXPECT_NE(problem().find("--device cpu"), std::string::npos);
}

TEST_F(FakeRoot, ANvidiaSoundDeviceIsNoGpu) {
  put("sys/bus/pci/devices/0/vendor", "0x10de");
  put("sys/bus/pci/devices/0/class", "0x040300");
  EXPECT_FALSE(probe_gpu(root_.string()).hardware);
}

TEST_F(FakeRoot, AnOldDriverIsFoundNeededAndRemedied) {
  put("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.10  Wed Jan");
  const std::string line = problem();
  EXPECT_NE(line.find("570.86.10"), std::string::npos);
  EXPECT_NE(line.find("580"), std::string::npos);
  EXPECT_EQ(line.find('\n'), std::string::npos);
}

TEST_F(FakeRoot, ANewDriverIsFine) {
  put("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun");
  EXPECT_EQ(problem(), "");
  EXPECT_EQ(probe_gpu(root_.string()).driver_version, "580.65.06");
}

TEST_F(FakeRoot, ADriverOfUnknownVersionIsNotTaken) {
  put("proc/driver/nvidia/version", "NVRM version: none of the known forms");
  EXPECT_NE(problem().find("unknown version"), std::string::npos);
}

TEST_F(FakeRoot, NoControlGroupIsNoLimit) { EXPECT_EQ(cgroup_available_bytes(root_.string()), no_memory_limit); }

TEST_F(FakeRoot, TheTightestGroupAroundTheProcessLimitsMemory) {
  put("proc/self/cgroup", "0::/job/step");
  put("sys/fs/cgroup/job/memory.max", "1000");
  put("sys/fs/cgroup/job/memory.current", "700");
  put("sys/fs/cgroup/job/memory.stat", "anon 500\ninactive_file 200");  // cache: the kernel gives it up
  put("sys/fs/cgroup/job/step/memory.max", "max");
  put("sys/fs/cgroup/job/step/memory.current", "700");
  put("sys/fs/cgroup/other/memory.max", "1");
  EXPECT_EQ(cgroup_available_bytes(root_.string()), 500);
}

TEST_F(FakeRoot, VersionOneLimitsMemoryToo) {
  put("proc/self/cgroup", "5:cpu:/a\n4:hugetlb,memory:/job");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
  put("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000");
  EXPECT_EQ(cgroup_available_bytes(root_.string()), no_memory_limit);
  put("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1000");
  put("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "900");
  put("sys/fs/cgroup/memory/job/memory.stat", "inactive_file 1\ntotal_inactive_file 50");
  EXPECT_EQ(cgroup_available_bytes(root_.string()), 150);
}

TEST_F(FakeRoot, AContainersOwnGroupIsTheMount) {
  put("proc/self/cgroup", "0::/path/of/the/host");
  put("sys/fs/cgroup/memory.max", "1000");
  put("sys/fs/cgroup/memory.current", "1400");
  EXPECT_EQ(cgroup_available_bytes(root_.string()), 0);  // never negative
}

TEST(Clock, TimeIsIso8601AndRuns) {
  const std::string now = utc_now_iso8601();
  ASSERT_EQ(now.size(), 24u);
  EXPECT_EQ(now[10], 'T');
  EXPECT_EQ(now.back(), 'Z');
  EXPECT_GT(unix_seconds(), 1.7e9);
  EXPECT_GT(peak_resident_bytes(), 1 << 20);
  EXPECT_GT(available_host_memory_bytes(), 1 << 20);
}

TEST(TextTable, AlignsNumbersRightAndWordsLeft) {
  EXPECT_EQ(text_table({{"name", "loss"}, {"mhc", "1.5"}, {"baseline", "10.25"}}),
            "name       loss\nmhc         1.5\nbaseline  10.25\n");
}

std::string recorded(const std::string& wanted) {
  for (const auto& [name, value] : recorded_environment()) {
    if (name == wanted) return value;
  }
  return "not recorded";
}

TEST(Process, QuotesWhatAShellWouldSplitOrExpand) {
  EXPECT_EQ(quoted("configs/mhc/demo_mhc.toml"), "configs/mhc/demo_mhc.toml");
  EXPECT_EQ(quoted("train.steps=5"), "train.steps=5");
  EXPECT_EQ(quoted(""), "''");
  EXPECT_EQ(quoted("a b"), "'a b'");
  EXPECT_EQ(quoted("it's $HOME"), "'it'\\''s $HOME'");
  EXPECT_NE(command_line().find("test_base"), std::string::npos);
}

TEST(Process, RecordsVariablesThatMatterAndNotThoseOfOneLaunch) {
  setenv("NCCL_DEBUG", "a=b", 1);
  setenv("OMPI_MCA_orte_hnp_uri", "address", 1);
  setenv("SECRET_TOKEN", "x", 1);
  EXPECT_EQ(recorded("NCCL_DEBUG"), "a=b");
  EXPECT_EQ(recorded("OMPI_MCA_orte_hnp_uri"), "not recorded");
  EXPECT_EQ(recorded("SECRET_TOKEN"), "not recorded");
  for (const char* name : {"NCCL_DEBUG", "OMPI_MCA_orte_hnp_uri", "SECRET_TOKEN"}) unsetenv(name);
}

}  // namespace
}  // namespace braid
