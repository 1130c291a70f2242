// SPDX-License-Identifier: Apache-2.0
// braid status: one line a run, from /status and the last row of /train of each run.h5 at or below the given folders.
// It asks no process: it works on runs of other machines that share the file system, and on dead ones.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "base/text_table.h"
#include "cli/command.h"
#include "cli/options.h"
#include "experiments/run_config.h"
#include "store/checkpoint_lookup.h"
#include "store/run_file.h"

namespace braid {

namespace {

namespace fs = std::filesystem;

constexpr const char* status_examples = R"(
Examples:
  braid status runs/a runs/b
  braid status runs                       # every run at or below a folder; sweeps are expanded
  braid status runs --json | jq '.[] | select(.state == "lost")'
  watch -n 5 braid status runs/sweep

States: running, done, diverged (the loss is not finite any more), preempted (stopped with a
checkpoint), stopped (without one, or by a bad step), failed; lost: its file says running, but its
heartbeat, which comes every 5 s, is older than --lost-after. "best" is the checkpoint with the
lowest held-out loss and that loss, of a run with checkpoint.keep_best.
Exit codes: 0 every folder could be read; 1 one holds no run, or its file is unreadable (the others
are listed all the same); 2 wrong use.
)";

struct RunLine {
  std::string folder, state;
  int64_t steps_done = 0, planned_steps = 0;
  double loss = std::numeric_limits<double>::quiet_NaN();  // of the last step
  std::optional<BestCheckpoint> best;                      // of a run that keeps it
  double heartbeat_age = 0;                                // seconds
  int exit_code = -1;
  std::string message;
  std::string problem;  // why it cannot be read; the rest is empty then
};

bool holds_run(const fs::path& folder) {
  std::error_code unreadable;
  return fs::exists(folder / "run.h5", unreadable);
}

// Folders below `root` that hold a run, 6l before 12l. What a sweep's earlier attempts left is no run of its own.
std::vector<std::string> runs_below(const fs::path& root) {
  std::vector<std::string> found;
  std::error_code problem;
  fs::recursive_directory_iterator at(root, fs::directory_options::skip_permission_denied, problem);
  for (; !problem && at != fs::recursive_directory_iterator(); at.increment(problem)) {
    std::error_code unreadable;
    if (!at->is_directory(unreadable)) continue;
    if (holds_run(at->path())) found.push_back(at->path().string());
    if (at->path().filename() == "attempts") at.disable_recursion_pending();
  }
  std::sort(found.begin(), found.end(),
            [](const std::string& a, const std::string& b) { return strverscmp(a.c_str(), b.c_str()) < 0; });
  return found;
}

// The folders of the runs that one word of the command line names; itself where it names none.
std::vector<std::string> runs_of(const std::string& word) {
  const fs::path path = fs::path(word).filename() == "run.h5" ? fs::path(word).parent_path() : fs::path(word);
  if (holds_run(path)) return {path.empty() ? "." : path.string()};
  const std::vector<std::string> below = runs_below(path);
  return below.empty() ? std::vector<std::string>{word} : below;
}

// Read from the manifests, as the run itself does. Nothing where the configuration is of another version.
std::optional<BestCheckpoint> best_of(const std::string& folder, const std::string& config_text) {
  RunConfig config;
  try {
    ConfigDocument::from_text(config_text, folder).read_into(config);
  } catch (const UsageError&) {
    return std::nullopt;
  }
  return config.checkpoint.keep_best ? best_checkpoint(checkpoints_of(folder)) : std::nullopt;
}

RunLine read_line(const std::string& folder, double lost_after) {
  RunLine line;
  line.folder = folder;
  try {
    if (!fs::exists(folder)) throw Error("no such folder");
    if (!holds_run(folder)) throw Error("holds no run.h5, and no folder below it does");
    const std::string path = folder + "/run.h5";
    const RunSummary summary = read_run_summary(path);
    const std::vector<double> losses = read_run_column(path, "train", "loss");
    line.heartbeat_age = std::max(0.0, unix_seconds() - summary.heartbeat_unix_seconds);
    line.state = summary.status.state == "running" && line.heartbeat_age > lost_after ? "lost" : summary.status.state;
    line.steps_done = summary.status.last_step + 1;
    line.planned_steps = summary.status.planned_steps;
    line.exit_code = summary.status.exit_code;
    line.message = summary.status.message;
    line.best = best_of(folder, summary.config);
    if (!losses.empty()) line.loss = losses.back();
  } catch (const std::exception& problem) {
    line.problem = problem.what();
  }
  return line;
}

std::string number(const char* format, double value) {
  char text[32];
  std::snprintf(text, sizeof text, format, plain_nan(value));
  return text;
}

// 7 s, 12 min, 3.5 h, 20 d: two digits say enough.
std::string age(double seconds) {
  if (seconds < 120) return number("%.0f s", seconds);
  if (seconds < 120 * 60) return number("%.0f min", seconds / 60);
  return seconds < 48 * 3600 ? number("%.1f h", seconds / 3600) : number("%.0f d", seconds / 86400);
}

std::string best_text(const RunLine& line) {
  return line.best ? str("step ", line.best->checkpoint.step, ": ", number("%.4f", line.best->held_out_loss)) : "-";
}

double percent(const RunLine& line) {
  return line.planned_steps > 0 ? 100.0 * double(line.steps_done) / double(line.planned_steps) : 0;
}

void print_table(const std::vector<RunLine>& lines) {
  std::vector<std::vector<std::string>> rows = {
      {"run", "state", "step", "done", "loss", "best", "heartbeat", "message"}};
  for (const RunLine& line : lines) {
    if (!line.problem.empty()) continue;
    const std::string loss = line.steps_done > 0 ? number("%.4f", line.loss) : "-";
    rows.push_back({line.folder, line.state, str(line.steps_done, "/", line.planned_steps),
                    number("%.0f%%", percent(line)), loss, best_text(line), age(line.heartbeat_age), line.message});
  }
  if (rows.size() > 1) std::cout << text_table(rows) << std::flush;
}

nlohmann::ordered_json best_as_json(const RunLine& line) {
  if (!line.best) return {};
  return {{"checkpoint", line.best->checkpoint.path},
          {"step", line.best->checkpoint.step},
          {"held_out_loss", line.best->held_out_loss}};
}

nlohmann::ordered_json to_json(const RunLine& line) {
  if (!line.problem.empty()) return {{"run", line.folder}, {"error", line.problem}};
  return {{"run", line.folder},
          {"state", line.state},
          {"steps_done", line.steps_done},
          {"planned_steps", line.planned_steps},
          {"loss", std::isfinite(line.loss) ? nlohmann::ordered_json(line.loss) : nlohmann::ordered_json()},
          {"best", best_as_json(line)},
          {"heartbeat_age_seconds", line.heartbeat_age},
          {"exit_code", line.exit_code < 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(line.exit_code)},
          {"message", line.message}};
}

void print_json(const std::vector<RunLine>& lines) {
  auto all = nlohmann::ordered_json::array();
  for (const RunLine& line : lines) all.push_back(to_json(line));
  // A file's text may be cut in the middle of a character.
  std::cout << all.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << std::endl;
}

struct StatusRequest {
  std::vector<std::string> folders;
  double lost_after = 60;
  bool json = false;
};

int tell(const StatusRequest& request) {
  std::vector<RunLine> lines;
  std::vector<std::string> seen;
  for (const std::string& word : request.folders) {
    for (const std::string& folder : runs_of(word)) {
      if (std::find(seen.begin(), seen.end(), folder) != seen.end()) continue;
      seen.push_back(folder);
      lines.push_back(read_line(folder, request.lost_after));
    }
  }
  request.json ? print_json(lines) : print_table(lines);
  int code = exit_done;
  for (const RunLine& line : lines) {
    if (line.problem.empty()) continue;
    code = exit_failed;
    const bool named = line.problem.starts_with(line.folder);
    std::cerr << "braid: " << (named ? "" : line.folder + ": ") << line.problem << std::endl;
  }
  return code;
}

}  // namespace

int command_status(const Arguments& arguments) {
  cxxopts::Options options("braid status",
                           "How far runs are, from their folders; works on live, finished and dead ones.");
  options.add_options()("folders", "run folders", cxxopts::value<std::vector<std::string>>())(
      "json", "an array of objects instead of the table")(
      "lost-after", "a run that says running, silent for longer, is called lost",
      cxxopts::value<double>()->default_value("60"), "SECONDS")("h,help", "this text");
  options.parse_positional({"folders"});
  options.positional_help("DIR...");
  int code = exit_done;
  const auto use = [&](const cxxopts::ParseResult& parsed) {
    StatusRequest request;
    if (!parsed.count("folders")) throw UsageError("braid status: no run folder given");
    request.folders = parsed["folders"].as<std::vector<std::string>>();
    request.json = parsed.count("json") > 0;
    request.lost_after = parsed["lost-after"].as<double>();
    if (!(request.lost_after >= 0)) throw UsageError("--lost-after: expected seconds, 0 or more");
    code = tell(request);
  };
  parse_arguments(options, arguments, use, status_examples);
  return code;
}

}  // namespace braid
