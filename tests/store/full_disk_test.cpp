// SPDX-License-Identifier: Apache-2.0
// A disk that fills up under a run file and is freed later: a small tmpfs, filled to a chosen number of free pages so
// that the failure hits another write each time. Skipped where mounting is not permitted.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <thread>

#include "base/error.h"
#include "store/h5.h"
#include "store/run_file.h"
#include "temp_folder.h"

namespace braid {
namespace {

constexpr int page = 4096;

class FullDisk : public testing::Test {
 protected:
  void SetUp() override {
    mounted_ = mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, "size=2m") == 0;
    if (!mounted_) GTEST_SKIP() << "mounting a tmpfs is not permitted here (" << strerror(errno) << ")";
  }
  void TearDown() override {
    if (mounted_) umount2(folder_.path().c_str(), MNT_DETACH);
  }

  void fill_all_but(int free_pages) const {
    const int filler = open((folder_ / "filler").c_str(), O_CREAT | O_WRONLY, 0600);
    const std::string content(page, 'x');
    int pages = 0;
    while (write(filler, content.data(), page) == page) ++pages;
    EXPECT_EQ(ftruncate(filler, std::max(0, pages - free_pages) * page), 0);
    close(filler);
  }
  void free_space() const { std::filesystem::remove(folder_ / "filler"); }

  std::string run_path() const { return folder_ / "run.h5"; }

 private:
  TempFolder folder_;
  bool mounted_ = false;
};

RunFileSpec specification() {
  RunFileSpec spec;
  spec.tables = {{"train",
                  {{"step", ColumnType::int64, "1", "s"},
                   {"loss", ColumnType::float64, "nats", "l"},
                   {"nonfinite", ColumnType::uint8, "1", "n"}}}};
  spec.layer_metrics = {{"gain", 5, "1", "g"}};
  return spec;
}

double loss_of(int64_t step) {
  return step % 7 == 0 ? std::numeric_limits<double>::quiet_NaN() : 1.0 / static_cast<double>(step + 1);
}

void append_steps(RunFile& file, int64_t& step, int count) {
  for (const int64_t end = step + count; step < end; ++step) {
    const auto number = static_cast<double>(step);
    file.append("train", {{"step", step}, {"loss", loss_of(step)}, {"nonfinite", step % 256}});
    file.append_layers(step, {{"gain", {number, 1, 2, 3, -number}}});
  }
}

// The message of the first drain() that fails; "" when all went well.
std::string append_until_trouble(RunFile& file, int64_t& step) {
  try {
    while (step < 40'000) {
      append_steps(file, step, 37);
      file.drain();
    }
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void expect_every_row(const std::string& path, int64_t steps) {
  const std::vector<double> step = read_run_column(path, "train", "step");
  const std::vector<double> loss = read_run_column(path, "train", "loss");
  const std::vector<double> nonfinite = read_run_column(path, "train", "nonfinite");
  const h5::File file = h5::File::open(path);
  const h5::Dataset matrix = h5::Dataset::open(file, "layers/gain");
  ASSERT_EQ(matrix.shape(), (std::vector<int64_t>{steps, 5}));
  std::vector<double> gain(static_cast<size_t>(steps) * 5);
  matrix.read(H5T_NATIVE_DOUBLE, gain.data());
  ASSERT_EQ(step.size(), static_cast<size_t>(steps));
  int64_t wrong = 0;
  for (int64_t i = 0; i < steps; ++i) {
    const double expected = loss_of(i), number = static_cast<double>(i);
    const bool same = std::isnan(expected) ? std::isnan(loss[i]) : loss[i] == expected;
    wrong += !(step[i] == number && same && nonfinite[i] == i % 256 && gain[i * 5] == number && gain[i * 5 + 3] == 3 &&
               gain[i * 5 + 4] == -number);
  }
  EXPECT_EQ(wrong, 0);
}

TEST_F(FullDisk, LosesNoRowWhereverItStrikesOnceSpaceReturns) {
  for (int free_pages = 0; free_pages < 48; ++free_pages) {
    SCOPED_TRACE(testing::Message() << free_pages << " pages free");
    std::filesystem::remove(run_path());
    auto file = RunFile::create(run_path(), specification());
    int64_t step = 0;
    append_steps(*file, step, 10 + free_pages);
    file->drain();
    fill_all_but(free_pages);
    const std::string message = append_until_trouble(*file, step);
    EXPECT_NE(message.find("run.h5: no space left on device"), std::string::npos) << message;
    EXPECT_EQ(file->trouble(), message);
    EXPECT_FALSE(file->healthy());
    append_steps(*file, step, 100);
    free_space();
    file->drain();
    EXPECT_TRUE(file->healthy());
    append_steps(*file, step, 10);
    file.reset();
    expect_every_row(run_path(), step);
  }
}

TEST_F(FullDisk, IsTriedAgainWithoutBeingAsked) {
  const auto file = RunFile::create(run_path(), specification());
  fill_all_but(3);
  int64_t step = 0;
  append_until_trouble(*file, step);
  ASSERT_FALSE(file->healthy());
  free_space();
  for (int tenths = 0; tenths < 80 && !file->healthy(); ++tenths) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_TRUE(file->healthy());
  expect_every_row(run_path(), step);
}

TEST_F(FullDisk, LeavesTheRowsOfTheLastGoodFlushReadableWhenSpaceNeverReturns) {
  int64_t step = 0, good = 0;
  {
    const auto file = RunFile::create(run_path(), specification());
    append_steps(*file, step, 700);
    file->drain();
    good = step;
    fill_all_but(2);
    append_until_trouble(*file, step);
  }
  const std::vector<double> steps = read_run_column(run_path(), "train", "step");
  ASSERT_GE(steps.size(), static_cast<size_t>(good));
  for (int64_t i = 0; i < good; ++i) EXPECT_EQ(steps[i], static_cast<double>(i));
  EXPECT_FALSE(std::filesystem::exists(run_path() + ".new"));
}

TEST_F(FullDisk, AtTheStartIsAUsageErrorThatLeavesNoFile) {
  for (int free_pages : {0, 1}) {  // the empty file needs two
    fill_all_but(free_pages);
    EXPECT_THROW(RunFile::create(run_path(), specification()), UsageError);
    EXPECT_FALSE(std::filesystem::exists(run_path()));
    EXPECT_FALSE(std::filesystem::exists(run_path() + ".new"));
    free_space();
  }
}

// A limit on file sizes also forbids the file in memory that a distrusted file is moved to: HDF5 cannot let go of it.
[[noreturn]] void write_beyond_the_limit(const std::string& path) {
  signal(SIGXFSZ, SIG_IGN);
  auto file = RunFile::create(path, specification());
  int64_t step = 0;
  append_steps(*file, step, 700);
  file->drain();
  const rlim_t limit = std::filesystem::file_size(path) + page;
  const rlimit both = {limit, limit};
  setrlimit(RLIMIT_FSIZE, &both);
  const std::string message = append_until_trouble(*file, step);
  append_steps(*file, step, 1000);
  file.reset();
  std::fprintf(stderr, "%s\n", message.c_str());
  _exit(0);
}

TEST(FileSizeLimit, EndsTheRecordWithOneLineAndKeepsWhatWasThere) {
  const TempFolder folder;
  EXPECT_EXIT(write_beyond_the_limit(folder / "run.h5"), testing::ExitedWithCode(0),
              "File too large; the rest of this run is not recorded");
  const std::vector<double> steps = read_run_column(folder / "run.h5", "train", "step");
  ASSERT_GE(steps.size(), 700u);
  for (size_t i = 0; i < 700; ++i) EXPECT_EQ(steps[i], static_cast<double>(i));
}

}  // namespace
}  // namespace braid
