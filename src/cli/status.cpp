// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "base/clock.h"
#include "base/error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "store/run_file.h"

namespace braid {

namespace {

constexpr double silent_seconds = 60;  // the heartbeat comes every few seconds

void print_status(const std::string& folder) {
  const RunSummary summary = read_run_summary(folder + "/run.h5");
  const RunStatus& s = summary.status;
  const double silence = unix_seconds() - summary.heartbeat_unix_seconds;
  std::cout << folder << ": " << s.state << ", step " << s.last_step + 1 << " of " << s.planned_steps;
  if (s.state == "running" && silence > silent_seconds) {
    std::cout << ", no sign of life for " << static_cast<int64_t>(silence) << " s";
  }
  if (!s.message.empty()) std::cout << ": " << s.message;
  std::cout << "\n";
}

}  // namespace

int command_status(const Arguments& arguments) {
  cxxopts::Options options("braid status", "Tells how far runs are, from their folders; works on live and dead ones.");
  options.add_options()("folders", "run folders", cxxopts::value<std::vector<std::string>>())("h,help", "this text");
  options.parse_positional({"folders"});
  options.positional_help("DIR [DIR …]");
  std::vector<std::string> folders;
  const auto use = [&](const cxxopts::ParseResult& parsed) {
    if (parsed.count("folders")) folders = parsed["folders"].as<std::vector<std::string>>();
  };
  if (!parse_arguments(options, arguments, use)) return 0;
  if (folders.empty()) throw UsageError("braid status: no run folder given");
  for (const std::string& folder : folders) print_status(folder);
  return exit_done;
}

}  // namespace braid
