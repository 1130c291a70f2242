// SPDX-License-Identifier: Apache-2.0
// Files of every released format version load.
#include "format_files.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "store/checkpoint_reader.h"
#include "temp_folder.h"

namespace braid {
namespace {

std::string data(const std::string& name) {
  return (std::filesystem::path(__FILE__).parent_path() / "data" / name).string();
}

class CheckpointOfVersion : public testing::TestWithParam<int> {};

TEST_P(CheckpointOfVersion, LoadsWhole) {
  const std::string folder = data(str("checkpoint-v", GetParam()));
  const CheckpointReader reader(folder, verify_checkpoint(folder));
  EXPECT_EQ(reader.manifest().step, format_files::steps);
  EXPECT_EQ(reader.manifest().state, format_files::state());
  EXPECT_EQ(reader.manifest().text("run_id"), "0123456789abcdef");
  EXPECT_EQ(reader.manifest().shards.size(), 3u);
  for (const KnownTensor& tensor : format_files::tensors()) {
    std::vector<std::byte> found(tensor.bytes.size());
    reader.read(tensor.whole, found.data());
    EXPECT_EQ(found, tensor.bytes) << tensor.whole.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Released, CheckpointOfVersion, testing::Values(1));

class RunFileOfVersion : public testing::TestWithParam<int> {};

TEST_P(RunFileOfVersion, IsReadAndGoesOn) {
  const TempFolder folder;
  const std::string path = folder / "run.h5";
  std::filesystem::copy_file(data(str("run-v", GetParam(), ".h5")), path);
  const RunSummary summary = read_run_summary(path);
  EXPECT_EQ(summary.status.state, "preempted");
  EXPECT_EQ(summary.status.last_step, 5);
  EXPECT_EQ(summary.status.exit_code, 85);
  EXPECT_EQ(summary.run_id, "0123456789abcdef");
  EXPECT_EQ(summary.config, "[train]\nsteps = 6\n");
  {
    const auto file = continue_run_file(path, format_files::run_file_spec(), 5);
    file->append("train", {{"step", int64_t{5}}, {"loss", 9.0}});
    file->drain();
  }
  const std::vector<double> step = read_run_column(path, "train", "step"),
                            loss = read_run_column(path, "train", "loss");
  ASSERT_EQ(step, (std::vector<double>{0, 1, 2, 3, 4, 5}));
  for (size_t i = 0; i < 5; ++i) {
    const double expected = format_files::loss(static_cast<int64_t>(i));
    EXPECT_TRUE(loss[i] == expected || (std::isnan(loss[i]) && std::isnan(expected))) << i;
  }
  EXPECT_EQ(loss[5], 9);
  EXPECT_EQ(read_run_column(path, "events", "step"), std::vector<double>{3});
}

INSTANTIATE_TEST_SUITE_P(Released, RunFileOfVersion, testing::Values(1));

}  // namespace
}  // namespace braid
