// SPDX-License-Identifier: Apache-2.0
#include "experiments/sweep_plan.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "base/text_table.h"
#include "experiments/config_changes.h"
#include "experiments/sweep_axes.h"
#include "store/checkpoint_folder.h"
#include "store/run_file.h"

namespace braid {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

std::string toml_of(RunConfig config) { return to_toml(config); }

json read_sweep_json(const std::string& out) {
  std::ifstream file(out + "/sweep.json");
  if (!file) return json();
  try {
    return json::parse(file);
  } catch (const json::exception& problem) {
    throw UsageError(str(out, "/sweep.json: not readable: ", problem.what()));
  }
}

const json* find_run(const json& saved, const std::string& name) {
  for (const json& run : saved.at("runs")) {
    if (run.at("name") == name) return &run;
  }
  return nullptr;
}

// What the run's own file says, or "" where there is none that can be read.
std::string recorded_state(const std::string& folder, std::string& message) {
  if (!fs::exists(folder + "/run.h5")) return "";
  try {
    const RunSummary summary = read_run_summary(folder + "/run.h5");
    message = summary.status.message;
    return summary.status.state;
  } catch (const Error& problem) {
    message = problem.what();
    return "";
  }
}

int64_t newest_checkpoint(const std::string& folder) {
  const std::vector<CheckpointPath> checkpoints = list_checkpoints(checkpoints_of(folder));
  return checkpoints.empty() ? -1 : checkpoints.front().step;
}

// How a run is another one than that of its name in a sweep that was begun, "" where it is not. A version that had not yet all keys
// meant what they are by default.
std::string difference(const json* known, const SweepRun& run) {
  if (!known) return "is not in it";
  const std::vector<ConfigChange> changes = config_changes(known->at("config"), run.config);
  return changes.empty() ? "" : "is configured differently: " + changes.front().text();
}

// How a run that is not under way any more stands.
void classify(const SweepPlan& plan, SweepRun& run, const std::string& trouble) {
  std::string message;
  const std::string state = recorded_state(plan.folder(run), message);
  if (state == "done" || state == "diverged") {
    run.state = state;
    run.message = message;
    return;
  }
  // A run that stopped because it was asked to has not used up an attempt, nor has one that died but got further: nodes
  // may fail many times under a long run.
  if (run.attempts > 0 && (state == "preempted" || newest_checkpoint(plan.folder(run)) > run.saved_step))
    --run.attempts;
  run.message = trouble.empty() ? message : trouble;
  if (run.message.empty() && run.attempts > 0) run.message = "died without a word";
  run.state = run.attempts >= sweep_attempts ? "failed" : "waiting";
}

}  // namespace

SweepPlan plan_sweep(const RunConfig& config, const std::string& out) {
  SweepPlan plan{out, {}};
  for (NamedRun& run : runs_of(config)) {
    plan.runs.push_back({std::move(run.name), std::move(run.config), 0, "waiting", "", -1});
  }
  return plan;
}

void recover(SweepPlan& plan) {
  const json saved = read_sweep_json(plan.out);
  if (saved.is_null()) {
    if (fs::exists(plan.out + "/run.h5")) throw UsageError(str(plan.out, ": holds a run, not a sweep"));
    return;
  }
  for (SweepRun& run : plan.runs) {
    const json* known = find_run(saved, run.name);
    const std::string problem = difference(known, run);
    if (!problem.empty()) {
      throw UsageError(str(plan.out, ": holds another sweep (", run.name, " ", problem, "); choose another --out"));
    }
    run.attempts = known->at("attempts");
    run.saved_step = known->value("saved_step", int64_t{-1});
    run.state = known->at("state");
    run.message = known->at("message");
    if (!run.finished()) classify(plan, run, "");
  }
}

namespace {

json json_of(const SweepPlan& plan) {
  json runs = json::array();
  for (const SweepRun& run : plan.runs) {
    const RunConfig& config = run.config;
    runs.push_back({{"name", run.name},
                    {"depth", config.model.layers},
                    {"variant", config.model.residual == "residual" ? "baseline" : config.model.residual},
                    {"seed", config.train.seed},
                    {"state", run.state},
                    {"attempts", run.attempts},
                    {"saved_step", run.saved_step},
                    {"message", run.message},
                    {"config", toml_of(config)}});
  }
  return {{"format", "braid-sweep"}, {"format_version", 1}, {"runs", runs}};
}

void write_by_way_of(const SweepPlan& plan, const std::string& temporary) {
  std::error_code problem;
  fs::create_directories(plan.out, problem);
  const std::string path = plan.out + "/sweep.json";
  std::ofstream file(temporary);
  file << json_of(plan).dump(1) << "\n";
  file.close();
  if (problem || !file) throw UsageError(str(path, ": cannot be written"));
  fs::rename(temporary, path);
}

}  // namespace

void save(const SweepPlan& plan) { write_by_way_of(plan, plan.out + "/sweep.json.new"); }

void save_if_new(const SweepPlan& plan) {
  if (fs::exists(plan.out + "/sweep.json")) return;
  // All of them write the same, so the last one may win; but no two may write into one file.
  write_by_way_of(plan, str(plan.out, "/sweep.json.new-", host_name(), "-", getpid()));
}

void write_run_config(const SweepPlan& plan, const SweepRun& run) {
  fs::create_directories(plan.out + "/configs");
  const std::string path = plan.out + "/configs/" + run.name + ".toml";
  std::ofstream file(path);
  file << toml_of(run.config);
  file.close();
  if (!file) throw Error(str(path, ": cannot be written"));
}

namespace {

// "<name>-1", or the next number that nothing has yet.
std::string free_name(const std::string& name) {
  int64_t number = 1;
  while (fs::exists(str(name, "-", number))) ++number;
  return str(name, "-", number);
}

}  // namespace

void begin_attempt(SweepPlan& plan, SweepRun& run) {
  const std::string folder = plan.folder(run);
  // A run with a checkpoint goes on where it stopped.
  run.saved_step = newest_checkpoint(folder);
  if (fs::exists(folder) && run.saved_step < 0) {
    fs::create_directories(plan.out + "/attempts");
    fs::rename(folder, free_name(plan.out + "/attempts/" + run.name));
  }
  ++run.attempts;
  run.state = "running";
  run.message.clear();
  save(plan);
}

void settle(SweepPlan& plan, SweepRun& run, const std::string& trouble) {
  classify(plan, run, trouble);
  save(plan);
}

namespace {

double last_of(const std::string& path, const std::string& table, const std::string& column) {
  const std::vector<double> values = read_run_column(path, table, column);
  return values.empty() ? std::nan("") : values.back();
}

std::string number(double value, const char* format) {
  char text[48];
  std::snprintf(text, sizeof text, format, plain_nan(value));
  return text;
}

std::vector<std::string> table_row(const SweepPlan& plan, const SweepRun& run) {
  std::vector<std::string> row = {run.name, run.state, "-", "-", "-", "-"};
  const std::string path = plan.folder(run) + "/run.h5";
  if (fs::exists(path)) {
    row[2] = number(last_of(path, "train", "loss"), "%.4f");
    const double held_out = last_of(path, "eval", "loss");
    if (held_out == held_out) row[3] = number(held_out, "%.4f");
    row[4] = number(last_of(path, "train", "gain_proxy_log10_max_entry"), "%.3f");
    row[5] = number(last_of(path, "train", "tokens_per_second"), "%.0f");
  }
  row.push_back(run.message);
  return row;
}

}  // namespace

std::string sweep_table(const SweepPlan& plan) {
  std::vector<std::vector<std::string>> rows = {{"run", "state", "loss", "held-out", "gain", "tokens/s", ""}};
  for (const SweepRun& run : plan.runs) rows.push_back(table_row(plan, run));
  return text_table(rows);
}

}  // namespace braid
