// SPDX-License-Identifier: Apache-2.0
// Clock, text table and the GPU probe.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/clock.h"
#include "base/gpu_probe.h"
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

}  // namespace
}  // namespace braid
