// SPDX-License-Identifier: Apache-2.0
#include "train/run_recorder.h"

#include <cmath>
#include <cstdio>
#include <limits>

#include "base/text_table.h"

namespace braid {

std::vector<TableSpec> training_tables(const std::vector<ExtraColumn>& extra) {
  TableSpec train{"train",
                  {{"step", ColumnType::int64, "1", "optimiser step, from 0"},
                   {"loss", ColumnType::float64, "nats/token", "mean cross-entropy before the update, all ranks"},
                   {"grad_norm", ColumnType::float64, "1", "2-norm of the whole gradient, before clipping"},
                   {"learning_rate", ColumnType::float64, "1", "learning rate of this update"},
                   {"nonfinite", ColumnType::uint8, "1", "1 when the loss or a logit was NaN or infinite"},
                   {"nonfinite_total", ColumnType::int64, "1", "such steps so far, this one included"},
                   {"tokens", ColumnType::int64, "tokens", "tokens trained on so far, this step included"},
                   {"tokens_per_second", ColumnType::float64, "tokens/s", "this step's tokens over step_seconds"},
                   {"step_seconds", ColumnType::float64, "s", "wall time of this step"},
                   {"elapsed_seconds", ColumnType::float64, "s", "wall time since the loop began"},
                   {"peak_memory_bytes", ColumnType::int64, "bytes", "rank 0: GPU allocator's or process's peak"},
                   {"checkpoint_blocked_ms", ColumnType::float64, "ms",
                    "how long saving a checkpoint after this step held training up, 0 where none was saved"}}};
  for (const ExtraColumn& column : extra) train.columns.push_back(column.column);
  TableSpec eval{"eval",
                 {{"step", ColumnType::int64, "1", "updates made before this evaluation"},
                  {"loss", ColumnType::float64, "nats/token", "mean cross-entropy on held-out samples"},
                  {"accuracy", ColumnType::float64, "1", "share of counted targets whose logit is the largest"},
                  {"tokens", ColumnType::int64, "tokens", "targets counted"},
                  {"seconds", ColumnType::float64, "s", "wall time of the evaluation"}}};
  TableSpec events{"events",
                   {{"step", ColumnType::int64, "1", "step at which it happened"},
                    {"kind", ColumnType::text, "", "what happened", 32},
                    {"message", ColumnType::text, "", "one line", 256}}};
  return {train, eval, events};
}

RunRecorder::RunRecorder(std::unique_ptr<RunFile> file, Logger& logger, RecorderOptions options)
    : file_(std::move(file)),
      logger_(logger),
      options_(std::move(options)),
      last_step_(options_.first_step - 1),
      last_eval_loss_(std::numeric_limits<double>::quiet_NaN()) {
  if (!file_) return;
  progress_ = std::make_unique<Progress>(options_.label, options_.planned_steps, options_.log_every);
  file_->status({"running", options_.first_step - 1, options_.planned_steps, -1, ""});
}

namespace {

std::string step_line(const StepRecord& r, double eval_loss) {
  char text[160];
  int used = std::snprintf(text, sizeof text, "loss %.4f  norm %.3f  lr %.1e  %.0f tok/s", plain_nan(r.loss),
                           plain_nan(r.gradient_norm), r.learning_rate, r.tokens_per_second);
  std::string line(text, static_cast<size_t>(used));
  if (r.nonfinite_total > 0) line += "  NaN " + std::to_string(r.nonfinite_total);
  if (std::isfinite(eval_loss)) {
    used = std::snprintf(text, sizeof text, "  held-out %.4f", eval_loss);
    line.append(text, static_cast<size_t>(used));
  }
  return line;
}

}  // namespace

void RunRecorder::step(const StepRecord& r, const ExtraMetrics& extra) {
  if (!file_) return;
  Row row = {{"step", r.step},
             {"loss", r.loss},
             {"grad_norm", r.gradient_norm},
             {"learning_rate", r.learning_rate},
             {"nonfinite", int64_t{r.nonfinite}},
             {"nonfinite_total", r.nonfinite_total},
             {"tokens", r.tokens},
             {"tokens_per_second", r.tokens_per_second},
             {"step_seconds", r.step_seconds},
             {"elapsed_seconds", r.elapsed_seconds},
             {"peak_memory_bytes", r.peak_memory_bytes},
             {"checkpoint_blocked_ms", r.checkpoint_blocked_ms}};
  for (const ExtraColumn& column : extra.columns) row.emplace_back(column.column.name, column.measure());
  last_step_ = r.step;
  file_->append("train", std::move(row));
  const LayerRows rows = extra.layers.measure ? extra.layers.measure() : LayerRows();
  if (!rows.empty()) file_->append_layers(r.step, rows);
  file_->status({"running", r.step, options_.planned_steps, -1, ""});
  progress_->update(r.step + 1, step_line(r, last_eval_loss_));
  report_trouble();
}

void RunRecorder::evaluation(const EvalRecord& r) {
  if (!file_) return;
  last_eval_loss_ = r.loss;
  file_->append("eval", {{"step", r.step},
                         {"loss", r.loss},
                         {"accuracy", r.accuracy},
                         {"tokens", r.tokens},
                         {"seconds", r.seconds}});
}

void RunRecorder::row(const std::string& table, Row row) {
  if (file_) file_->append(table, std::move(row));
}

void RunRecorder::event(int64_t step, const std::string& kind, const std::string& message) {
  if (!file_) return;
  file_->append("events", {{"step", step}, {"kind", kind}, {"message", message}});
  logger_.event(kind, {{"step", std::to_string(step)}, {"message", message}});
}

void RunRecorder::alarm(int64_t step, const std::string& kind, const std::string& message) {
  if (!file_) return;
  event(step, kind, message);
  logger_.warning(message);
}

void RunRecorder::record_failure(const std::string& message) {
  const std::lock_guard lock(file_change_);
  if (!file_) return;
  file_->status({"failed", last_step_, options_.planned_steps, 1, message});
  file_->drain();
}

void RunRecorder::drain() {
  const std::lock_guard lock(file_change_);
  if (file_) file_->drain();
}

void RunRecorder::rewind(int64_t step) {
  const std::lock_guard lock(file_change_);
  if (!file_) return;
  last_step_ = step - 1;
  file_->drain();
  file_.reset();  // one writer at a time
  file_ = options_.reopen(step);
  file_->status({"running", step - 1, options_.planned_steps, -1, ""});
}

void RunRecorder::finish(const std::string& state, int64_t last_step, int exit_code, const std::string& message) {
  if (!file_) return;
  progress_->finish();
  file_->status({state, last_step, options_.planned_steps, exit_code, message});
  file_->drain();
}

// A full disk must not end a run that computes; the user hears of it once.
void RunRecorder::report_trouble() {
  const std::string trouble = file_->trouble();
  if (trouble == last_trouble_) return;
  last_trouble_ = trouble;
  if (trouble.empty()) {
    logger_.info("run.h5 is written again; no row was lost");
  } else {
    logger_.warning("run.h5 cannot be written, rows are kept in memory: " + trouble);
  }
}

}  // namespace braid
