// SPDX-License-Identifier: Apache-2.0
// OUT/run.h5: what a run did, row by row. Written by rank 0 only; readable while it grows (SWMR), after kill -9 and on
// a laptop. All HDF5 calls happen on the file's one I/O thread; append() and status() hand rows over and return at once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace braid {

enum class ColumnType { int64, float64, uint8, text };  // text: fixed-length UTF-8, Column::width bytes

struct Column {
  std::string name;
  ColumnType type = ColumnType::float64;
  std::string unit;     // "nats", "tokens/s", "1"; stored as attribute unit:<name> of the table
  std::string meaning;  // stored as attribute meaning:<name>
  int width = 0;
};

struct TableSpec {
  std::string name;  // "train", "eval", "events"
  std::vector<Column> columns;
};

// A metric with a value per layer: /layers/<name>, a growing 2-D dataset [step, layer] of float64. Its dimension scales
// are /layers/step, which grows with it, and /layers/<axis>, which counts from 0.
struct LayerMetric {
  std::string name;
  int64_t layers = 0;
  std::string unit, meaning;
  std::string axis = "layer";
};

using Cell = std::variant<int64_t, double, std::string>;
using Row = std::vector<std::pair<std::string, Cell>>;  // a column left out is NaN, 0 or ""

using LayerRows = std::vector<std::pair<std::string, std::vector<double>>>;  // metric name to its values

// The one row of /status.
struct RunStatus {
  std::string state = "running";  // running, done, diverged, failed, preempted, stopped
  int64_t last_step = -1, planned_steps = 0;
  int exit_code = -1;             // -1 while running
  std::string message;
};

// Root attributes besides format, format_version and created_utc: name → text or integer.
using RunAttributes = std::vector<std::pair<std::string, std::variant<int64_t, std::string>>>;

struct RunFileSpec {
  RunAttributes attributes;
  std::vector<TableSpec> tables;
  std::vector<LayerMetric> layer_metrics;
};

class RunFile {
 public:
  // Creates the file with all its objects, then starts SWMR. UsageError when `path` exists or cannot be written.
  static std::unique_ptr<RunFile> create(const std::string& path, const RunFileSpec& spec);
  virtual ~RunFile() = default;  // drains and closes; never throws

  virtual void append(const std::string& table, Row row) = 0;
  // One row of every layer metric.
  virtual void append_layers(int64_t step, const LayerRows& rows) = 0;
  virtual void status(const RunStatus& status) = 0;  // the heartbeat is stamped by the I/O thread, also when idle
  // Blocks until everything handed over is on disk (fdatasync). Throws Error when it could not be written: the rows
  // since the last good flush stay in memory and are tried again in a new file, renamed over the old one.
  virtual void drain() = 0;
  virtual bool healthy() const = 0;       // false after a failed HDF5 call until a new file took over
  virtual std::string trouble() const = 0;  // one line on why it is not healthy, else ""
};

// Goes on where a stopped run left `path`: the rows with step < first_step_to_drop of each table that has a column
// "step" and of the layer metrics, all rows of the other tables, and created_utc are copied into a new file
// with the objects and attributes of `spec`, which is then renamed over. Columns are matched by name; what `spec` does
// not have is left behind. The old file is never written to, and stays as it is when anything fails (Error).
std::unique_ptr<RunFile> continue_run_file(const std::string& path, const RunFileSpec& spec,
                                           int64_t first_step_to_drop);

// What a finished or crashed run left: read without locks, with SWMR, never changing the file.
struct RunSummary {
  RunStatus status;
  double heartbeat_unix_seconds = 0;
  std::string config;  // the TOML text
  std::string run_id;
  std::string resumed_from;  // checkpoint or run elsewhere that this one began from, "" when from nothing
  int64_t sessions = 0;  // starts of the run so far
};
RunSummary read_run_summary(const std::string& path);                                     // Error
std::vector<double> read_run_column(const std::string& path, const std::string& table,
                                    const std::string& column);                            // Error

}  // namespace braid
