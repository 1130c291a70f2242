// SPDX-License-Identifier: Apache-2.0
// The run file from the program's side: what is written is read back, bad use is refused in one line, and a resumed run
// keeps the right rows.
#include "store/run_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <thread>

#include "base/error.h"
#include "store/h5.h"
#include "temp_folder.h"

namespace braid {
namespace {

using Column64 = std::vector<double>;

RunFileSpec small_spec() {
  RunFileSpec spec;
  spec.attributes = {{"config", "[model]\n"}, {"world_size", int64_t{2}}};
  spec.tables = {{"train", {{"step", ColumnType::int64, "1", "s"}, {"loss", ColumnType::float64, "nats", "l"}}},
                 {"events", {{"number", ColumnType::uint8, "1", "n"}, {"text", ColumnType::text, "1", "t", 5}}}};
  spec.layer_metrics = {{"gain", 2, "1", "g"}};
  return spec;
}

void append_steps(RunFile& file, int64_t first, int64_t last) {
  for (int64_t step = first; step < last; ++step) {
    file.append("train", {{"step", step}, {"loss", 0.5 * static_cast<double>(step)}});
    file.append_layers(step, {{"gain", {static_cast<double>(step), -1.0}}});
  }
}

Column64 counting(int64_t first, int64_t last) {
  Column64 values;
  for (int64_t i = first; i < last; ++i) values.push_back(static_cast<double>(i));
  return values;
}

template <class Expected = Error>
std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Expected& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(RunFile, DrainedRowsAndStatusAreReadBackWhileItIsOpenAndAfterwards) {
  const TempFolder folder;
  const std::string path = folder / "run.h5";
  auto file = RunFile::create(path, small_spec());
  append_steps(*file, 0, 1000);
  file->status({"running", 999, 2000, -1, ""});
  file->drain();
  EXPECT_EQ(read_run_column(path, "train", "step"), counting(0, 1000));
  EXPECT_EQ(read_run_summary(path).status.last_step, 999);
  append_steps(*file, 1000, 1010);
  file->status({"diverged", 1009, 2000, 0, "loss is NaN"});
  file.reset();
  EXPECT_EQ(read_run_column(path, "train", "step"), counting(0, 1010));
  const RunSummary summary = read_run_summary(path);
  EXPECT_EQ(summary.status.state, "diverged");
  EXPECT_EQ(summary.status.planned_steps, 2000);
  EXPECT_EQ(summary.status.exit_code, 0);
  EXPECT_EQ(summary.status.message, "loss is NaN");
  EXPECT_EQ(summary.config, "[model]\n");
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));
}

TEST(RunFile, ColumnsLeftOutAreNanZeroOrEmptyAndNonFiniteValuesStay) {
  const TempFolder folder;
  const std::string path = folder / "run.h5";
  const double infinity = std::numeric_limits<double>::infinity();
  auto file = RunFile::create(path, small_spec());
  file->append("train", {{"step", int64_t{1} << 40}});
  file->append("train", {{"loss", -infinity}});
  file->append("events", {{"number", int64_t{255}}});
  file.reset();
  const Column64 loss = read_run_column(path, "train", "loss");
  EXPECT_TRUE(std::isnan(loss.at(0)));
  EXPECT_EQ(loss.at(1), -infinity);
  EXPECT_EQ(read_run_column(path, "train", "step"), (Column64{std::pow(2.0, 40), 0}));
  EXPECT_EQ(read_run_column(path, "events", "number"), Column64{255});
}

TEST(RunFile, TextsAreCutAtAWholeCharacter) {
  const TempFolder folder;
  auto file = RunFile::create(folder / "run.h5", small_spec());
  file->append("events", {{"text", "abcdé"}});  // 6 bytes in a column of 5
  file->append("events", {{"text", "abcéx"}});
  file.reset();
  const h5::File read = h5::File::open(folder / "run.h5");
  const h5::H5Id type = h5::own(H5Tcreate(H5T_COMPOUND, 5), H5Tclose, "type");
  const h5::H5Id text = h5::text_type(5);
  H5Tinsert(type, "text", 0, text);
  char found[11] = {};
  h5::Dataset::open(read, "events").read(type, found);
  EXPECT_EQ(std::string(found, 10), std::string("abcd\0abcé", 10));
}

TEST(RunFile, RefusesAFolderThatHoldsARunOrCannotBeWritten) {
  const TempFolder folder;
  std::ofstream(folder / "run.h5") << "someone's";
  EXPECT_EQ(message_of<UsageError>([&] { RunFile::create(folder / "run.h5", small_spec()); }),
            folder / "run.h5 holds another run");
  std::ifstream kept(folder / "run.h5");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(kept), {}), "someone's");
  const std::string message = message_of<UsageError>([&] { RunFile::create(folder / "none/run.h5", small_spec()); });
  EXPECT_NE(message.find("cannot be written"), std::string::npos) << message;
  EXPECT_NE(message.find("No such file or directory"), std::string::npos) << message;
}

TEST(RunFile, NamesTheTableAndColumnOfAValueThatHasNoPlace) {
  const TempFolder folder;
  const auto file = RunFile::create(folder / "run.h5", small_spec());
  const auto message = [&](const std::string& table, const Row& row) {
    return message_of([&] { file->append(table, row); });
  };
  EXPECT_EQ(message("tain", {}), folder / "run.h5: no table or layer metric tain");
  EXPECT_EQ(message("train", {{"los", 1.0}}), "table train: no column los");
  EXPECT_EQ(message("train", {{"step", 1.5}}), "table train: the value given for column step does not fit its type");
  EXPECT_EQ(message("events", {{"number", int64_t{256}}}),
            "table events: the value given for column number does not fit its type");
  EXPECT_EQ(message_of([&] { file->append_layers(0, {{"gain", {1, 2, 3}}}); }),
            "layers/gain: a row of 3 values where 2 are needed");
  EXPECT_EQ(message_of([&] { file->append_layers(0, {}); }), folder / "run.h5: 0 rows given for 1 layer metrics");
}

TEST(RunFile, KeepsTheOrderOfManyRowsHandedOverFasterThanTheyAreWritten) {
  const TempFolder folder;
  auto file = RunFile::create(folder / "run.h5", small_spec());
  append_steps(*file, 0, 300'000);
  file.reset();
  EXPECT_EQ(read_run_column(folder / "run.h5", "train", "step"), counting(0, 300'000));
}

TEST(RunFile, TakesRowsFromSeveralThreads) {
  const TempFolder folder;
  auto file = RunFile::create(folder / "run.h5", small_spec());
  std::vector<std::thread> threads;
  for (int64_t t = 0; t < 4; ++t) threads.emplace_back([&, t] { append_steps(*file, t * 1000, t * 1000 + 1000); });
  for (std::thread& thread : threads) thread.join();
  file.reset();
  Column64 steps = read_run_column(folder / "run.h5", "train", "step");
  std::sort(steps.begin(), steps.end());
  EXPECT_EQ(steps, counting(0, 4000));
}

TEST(RunFile, StampsTheHeartbeatWhileNothingHappens) {
  const TempFolder folder;
  const auto file = RunFile::create(folder / "run.h5", small_spec());
  const double first = read_run_summary(folder / "run.h5").heartbeat_unix_seconds;
  std::this_thread::sleep_for(std::chrono::milliseconds(5500));
  const double second = read_run_summary(folder / "run.h5").heartbeat_unix_seconds;
  EXPECT_GT(second, first + 4);
  EXPECT_LT(second, first + 5.6);
}

TEST(RunSummary, OfAFileThatIsNoRunOrFromANewerVersionIsAnErrorThatSaysSo) {
  const TempFolder folder;
  {
    const h5::File other = h5::File::create(folder / "other.h5");
    const h5::File newer = h5::File::create(folder / "newer.h5");
    h5::set_attribute(newer, "format", std::string("braid-run"));
    h5::set_attribute(newer, "format_version", int64_t{2});
  }
  EXPECT_EQ(message_of([&] { read_run_summary(folder / "other.h5"); }),
            folder / "other.h5: not a run file of Braid (attribute format is not braid-run)");
  EXPECT_EQ(message_of([&] { read_run_summary(folder / "newer.h5"); }),
            folder / "newer.h5: format_version 2 is newer than this program's 1");
}

TEST(RunColumn, MissingOrOfTextIsAnErrorThatNamesIt) {
  const TempFolder folder;
  const std::string path = folder / "run.h5";
  RunFile::create(path, small_spec());
  EXPECT_EQ(message_of([&] { read_run_column(path, "eval", "loss"); }), path + ": no table eval");
  EXPECT_EQ(message_of([&] { read_run_column(path, "train", "los"); }), path + ": /train has no column los");
  EXPECT_EQ(message_of([&] { read_run_column(path, "events", "text"); }),
            path + ": /events: column text holds text, not numbers");
}

TEST(ContinuedRun, KeepsTheRowsBeforeTheCheckpointAndAddsNewOnes) {
  const TempFolder folder;
  const std::string path = folder / "run.h5";
  auto file = RunFile::create(path, small_spec());
  append_steps(*file, 0, 6000);
  file->append("events", {{"number", int64_t{7}}});
  file.reset();
  RunFileSpec wider = small_spec();
  wider.attributes = {{"config", "[model]\n"}, {"world_size", int64_t{3}}};
  wider.tables[0].columns.insert(wider.tables[0].columns.begin(), {"gain", ColumnType::float64, "1", "new"});
  auto continued = continue_run_file(path, wider, 5000);
  append_steps(*continued, 5000, 5010);
  continued->drain();
  EXPECT_EQ(read_run_column(path, "train", "step"), counting(0, 5010));
  EXPECT_EQ(read_run_column(path, "train", "loss").at(4999), 2499.5);
  EXPECT_TRUE(std::isnan(read_run_column(path, "train", "gain").at(17)));
  EXPECT_EQ(read_run_column(path, "events", "number"), Column64{7});
  const h5::File read = h5::File::open(path);
  EXPECT_EQ(h5::Dataset::open(read, "layers/gain").shape(), (std::vector<int64_t>{5010, 2}));
  EXPECT_EQ(h5::Dataset::open(read, "layers/step").shape(), std::vector<int64_t>{5010});
  EXPECT_EQ(h5::int_attribute(read, "world_size"), 3);
}

TEST(ContinuedRun, LeavesTheOldFileAloneWhenItCannotGoOn) {
  const TempFolder folder;
  const std::string path = folder / "run.h5";
  auto file = RunFile::create(path, small_spec());
  append_steps(*file, 0, 100);
  file.reset();
  RunFileSpec other = small_spec();
  other.layer_metrics[0].layers = 3;
  EXPECT_EQ(message_of([&] { continue_run_file(path, other, 50); }), path + ": /layers/gain: its rows are not 3 values wide");
  EXPECT_EQ(read_run_column(path, "train", "step"), counting(0, 100));
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));
}

}  // namespace
}  // namespace braid
