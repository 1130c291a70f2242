// SPDX-License-Identifier: Apache-2.0
// A program for the tests to watch and to kill: `run_file_writer PATH ROWS_PER_SECOND SECONDS` writes rows whose every
// cell is a function of the step (test_run_file.py holds the same functions), as fast as it can when the rate is 0.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <limits>
#include <string>
#include <thread>

#include "store/run_file.h"

namespace {

using namespace braid;
using Clock = std::chrono::steady_clock;

RunFileSpec specification() {
  RunFileSpec spec;
  spec.attributes = {{"config", "[train]\nsteps = 5  # ε\n"}, {"world_size", int64_t{2}}};
  spec.tables = {{"train",
                  {{"step", ColumnType::int64, "1", "updates made"},
                   {"loss", ColumnType::float64, "nats", "mean of the batch"},
                   {"nonfinite", ColumnType::uint8, "1", "1 when the step was not finite"},
                   {"note", ColumnType::text, "1", "the step as text", 12}}},
                 {"events", {{"step", ColumnType::int64, "1", "updates made"}}}};
  spec.layer_metrics = {{"gain", 3, "1", "by layer"}};
  return spec;
}

void append_step(RunFile& file, int64_t step) {
  const double loss = step % 7 == 3 ? std::numeric_limits<double>::quiet_NaN() : 1.0 / static_cast<double>(step + 1);
  const auto number = static_cast<double>(step);
  const std::string note = "é" + std::to_string(step);
  file.append("train", {{"step", step}, {"loss", loss}, {"nonfinite", step % 251}, {"note", note}});
  file.append_layers(step, {{"gain", {number, -number, number / 2}}});
  if (step % 100 == 0) file.append("events", {{"step", step}});
  if (step % 100 == 0) file.status({"running", step, int64_t{1} << 40, -1, ""});
}

int64_t write_rows(RunFile& file, double rows_per_second, double seconds) {
  const Clock::time_point start = Clock::now(), end = start + std::chrono::milliseconds(int64_t(seconds * 1000));
  int64_t step = 0;
  for (; Clock::now() < end; ++step) {
    append_step(file, step);
    const std::chrono::duration<double> due(rows_per_second > 0 ? step / rows_per_second : 0);
    std::this_thread::sleep_until(start + due);
  }
  return step;
}

}  // namespace

int main(int count, char** arguments) try {
  if (count != 4) return 2;
  const auto file = RunFile::create(arguments[1], specification());
  std::puts("ready");
  std::fflush(stdout);
  const int64_t steps = write_rows(*file, std::atof(arguments[2]), std::atof(arguments[3]));
  file->status({"done", steps - 1, steps, 0, "all steps made"});
  file->drain();
  std::printf("%lld\n", static_cast<long long>(steps));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
