// SPDX-License-Identifier: Apache-2.0
// Writes what a run does to OUT/run.h5, log.jsonl and the terminal. Only rank 0 has one that does anything, so that the
// loop reads the same on every rank.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/progress.h"
#include "store/run_file.h"

namespace braid {

// A column that an experiment adds to /train, measured after each update.
struct ExtraColumn {
  Column column;
  std::function<double()> measure;
};

// Layer metrics that an experiment adds, measured together after an update: one row of each, or of none.
struct ExtraLayers {
  std::vector<LayerMetric> metrics;
  std::function<LayerRows()> measure;  // empty: never
};

// What an experiment adds to the run file.
struct ExtraMetrics {
  std::vector<ExtraColumn> columns;
  ExtraLayers layers;
  // For what is seen while a step is computed; empty: nothing. Every rank calls them, before the step's first forward pass,
  // when its gradients are reduced and when all is updated; `counts` is false where the rank had no sample of its own.
  std::function<void(int64_t step)> before_step = {};
  std::function<void(bool counts)> after_backward = {};
  std::function<void()> after_update = {};
};

// A table of its own, with a row for each evaluation.
struct ExtraEvaluation {
  TableSpec table;
  std::function<Row(int64_t step)> measure;  // every rank calls it; empty: none
};

// What every row of /train says.
struct StepRecord {
  int64_t step = 0;
  double loss = 0, gradient_norm = 0, learning_rate = 0;
  bool nonfinite = false;
  int64_t nonfinite_total = 0, tokens = 0;
  double tokens_per_second = 0, step_seconds = 0, elapsed_seconds = 0;
  int64_t peak_memory_bytes = 0;
  double checkpoint_blocked_ms = 0;  // 0 where none was saved
};

struct EvalRecord {
  int64_t step = 0;  // updates made before this evaluation
  double loss = 0, accuracy = 0;
  int64_t tokens = 0;
  double seconds = 0;
};

struct RecorderOptions {
  std::string label;          // before the progress line
  int64_t planned_steps = 0, log_every = 10;
  int64_t first_step = 0;     // where this start of the run begins
  // Makes the file anew with the rows before a step, for a run that goes back to it.
  std::function<std::unique_ptr<RunFile>(int64_t first_step_to_drop)> reopen;
};

class RunRecorder {
 public:
  // `file` null: records nothing (all ranks but 0).
  RunRecorder(std::unique_ptr<RunFile> file, Logger& logger, RecorderOptions options);

  bool active() const { return file_ != nullptr; }
  void step(const StepRecord& record, const ExtraMetrics& extra);  // measures `extra`
  void evaluation(const EvalRecord& record);
  void row(const std::string& table, Row row);  // of an ExtraEvaluation
  void event(int64_t step, const std::string& kind, const std::string& message);
  void alarm(int64_t step, const std::string& kind, const std::string& message);  // an event that is also said aloud
  // The last status of a run that something else than its own thread ends. Any thread.
  void record_failure(const std::string& message);
  // What was recorded so far is on disk when it returns. Any thread. Error.
  void drain();
  // The run goes back: rows of `step` and later are dropped. Error.
  void rewind(int64_t step);
  void finish(const std::string& state, int64_t last_step, int exit_code, const std::string& message);

 private:
  void report_trouble();

  std::unique_ptr<RunFile> file_;
  std::mutex file_change_;  // file_ is replaced under it, and used under it by other threads
  Logger& logger_;
  RecorderOptions options_;
  std::unique_ptr<Progress> progress_;
  std::string last_trouble_;
  std::atomic<int64_t> last_step_;
  double last_eval_loss_;
};

// The tables of run.h5 that training writes, with the experiment's columns at the end of /train.
std::vector<TableSpec> training_tables(const std::vector<ExtraColumn>& extra);

}  // namespace braid
