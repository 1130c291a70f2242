// SPDX-License-Identifier: Apache-2.0
#include "experiments/sweep_plan.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "base/text_table.h"
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

namespace {

// Every configuration of `configs` once with each of the values, the last axis changing fastest. No values: as it is.
template <class T>
std::vector<RunConfig> along(const std::vector<RunConfig>& configs, const std::vector<T>& values, auto field) {
  if (values.empty()) return configs;
  std::vector<RunConfig> all;
  for (const RunConfig& config : configs) {
    for (const T& value : values) {
      all.push_back(config);
      field(all.back()) = value;
    }
  }
  return all;
}

// The fields of connections that `sweep` lists but this run does not have go back to one value, so that it is made
// once.
RunConfig without_what_means_nothing(RunConfig config, const SweepConfig& sweep) {
  ModelConfig& m = config.model;
  const ModelConfig usual;
  if (!sweep.forms.empty() && m.residual == "residual") m.connection_form = usual.connection_form;
  if (!sweep.forms.empty() && !m.is_paper_form() && m.stream_exit == "learned") m.stream_exit = usual.stream_exit;
  if (!m.has_manifold() && !(sweep.forms.empty() && sweep.manifolds.empty() && sweep.starts.empty())) {
    m.manifold = usual.manifold;
    m.connection_start = usual.connection_start;
  }
  if (!sweep.streams.empty() && m.residual == "residual") m.streams = usual.streams;
  if (!sweep.iterations.empty() && !m.iterates()) m.sinkhorn_iterations = usual.sinkhorn_iterations;
  return config;
}

// There are too many permutations of more streams.
bool can_be(const ModelConfig& m) { return !m.has_manifold() || m.manifold != "permutations" || m.streams <= 4; }

std::vector<RunConfig> depths_of(RunConfig config, const SweepConfig& sweep) {
  config.sweep = SweepConfig{};
  std::vector<RunConfig> all = along(
      {config}, sweep.layers, [](RunConfig & c) -> auto& { return c.model.layers; });
  for (size_t depth = 0; depth < sweep.batch.size(); ++depth) all.at(depth).train.batch = sweep.batch[depth];
  return all;
}

struct Variation {
  std::string name;
  std::vector<std::string> changes;  // "KEY=VALUE"
};

std::string without_blanks_around(const std::string& text) {
  const size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

Variation read_variation(const std::string& text) {
  const size_t colon = text.find(':');
  Variation variation{without_blanks_around(text.substr(0, colon)), {}};
  constexpr const char* allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  if (colon == std::string::npos || variation.name.empty() ||
      variation.name.find_first_not_of(allowed) != std::string::npos) {
    throw UsageError(
        str("sweep.variations: expected \"NAME: KEY=VALUE; KEY=VALUE\" with a NAME that can be a folder's, found \"",
            text, "\""));
  }
  std::string rest = text.substr(colon + 1);
  for (size_t end = 0; end != std::string::npos;) {
    end = rest.find(';');
    if (const std::string one = without_blanks_around(rest.substr(0, end)); !one.empty())
      variation.changes.push_back(one);
    if (end != std::string::npos) rest.erase(0, end + 1);
  }
  return variation;
}

RunConfig varied(const RunConfig& config, const Variation& variation) {
  if (variation.changes.empty()) return config;
  try {
    ConfigDocument document = ConfigDocument::from_text(toml_of(config), "sweep.variations: " + variation.name);
    for (const std::string& change : variation.changes) document.override_with(change);
    return read_run_config(document);
  } catch (const UsageError& problem) {
    const std::string what = problem.what();
    throw UsageError(what.starts_with("sweep.variations") ? what
                                                          : str("sweep.variations: ", variation.name, ": ", what));
  }
}

}  // namespace

namespace {

std::vector<RunConfig> tasks_of(const std::vector<RunConfig>& configs, const SweepConfig& sweep) {
  std::vector<RunConfig> all = along(
      configs, sweep.tasks, [](RunConfig & c) -> auto& { return c.data.kind; });
  if (sweep.vocabulary.empty()) return all;
  for (size_t i = 0; i < all.size(); ++i) all[i].model.vocabulary = sweep.vocabulary[i % sweep.vocabulary.size()];
  return all;
}

std::vector<RunConfig> connections_of(std::vector<RunConfig> all, const SweepConfig& sweep) {
  all = along(
      all, sweep.residual, [](RunConfig & c) -> auto& { return c.model.residual; });
  all = along(
      all, sweep.forms, [](RunConfig & c) -> auto& { return c.model.connection_form; });
  all = along(
      all, sweep.manifolds, [](RunConfig & c) -> auto& { return c.model.manifold; });
  all = along(
      all, sweep.starts, [](RunConfig & c) -> auto& { return c.model.connection_start; });
  all = along(
      all, sweep.streams, [](RunConfig & c) -> auto& { return c.model.streams; });
  all = along(
      all, sweep.iterations, [](RunConfig & c) -> auto& { return c.model.sinkhorn_iterations; });
  std::erase_if(all, [](const RunConfig& c) { return !can_be(c.model); });
  for (RunConfig& config : all) config = without_what_means_nothing(std::move(config), sweep);
  return all;
}

}  // namespace

SweepPlan plan_sweep(const RunConfig& base, const std::string& out) {
  const SweepConfig& sweep = base.sweep;
  std::vector<RunConfig> all = connections_of(tasks_of(depths_of(base, sweep), sweep), sweep);
  all = along(
      all, sweep.precisions, [](RunConfig & c) -> auto& { return c.train.precision; });
  all = along(
      all, sweep.epochs, [](RunConfig & c) -> auto& { return c.train.epochs; });
  all = along(
      all, sweep.learning_rates, [](RunConfig & c) -> auto& { return c.optim.learning_rate; });
  all = along(
      all, sweep.lora_ranks, [](RunConfig & c) -> auto& { return c.lora.rank; });
  all = along(
      all, sweep.seeds, [](RunConfig & c) -> auto& { return c.train.seed; });
  SweepPlan plan{out, {}};
  // What means nothing to a model makes no run of its own.
  std::set<std::string> names;
  std::erase_if(all, [&](const RunConfig& config) { return !names.insert(run_name(config, sweep)).second; });
  if (sweep.variations.empty()) {
    for (RunConfig& config : all)
      plan.runs.push_back({run_name(config, sweep), std::move(config), 0, "waiting", "", -1});
    return plan;
  }
  std::vector<Variation> variations;
  for (const std::string& text : sweep.variations) variations.push_back(read_variation(text));
  for (const RunConfig& config : all) {
    for (const Variation& variation : variations) {
      RunConfig one = varied(config, variation);
      std::string name = str(run_name(one, sweep), "_", variation.name);
      if (std::any_of(plan.runs.begin(), plan.runs.end(), [&](const SweepRun& run) { return run.name == name; }))
        throw UsageError(str("sweep.variations: ", variation.name, " is there twice"));
      plan.runs.push_back({std::move(name), std::move(one), 0, "waiting", "", -1});
    }
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
    if (!known || known->at("config") != toml_of(run.config)) {
      throw UsageError(str(plan.out, ": holds another sweep (", run.name,
                           known ? " is configured differently" : " is not in it", "); choose another --out"));
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
