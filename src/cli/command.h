// SPDX-License-Identifier: Apache-2.0
// What the subcommands share: their table, the options they have in common, and how errors become exit codes.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/log.h"
#include "comm/world.h"
#include "experiments/run_config.h"
#include "experiments/run_start.h"

namespace cxxopts {
class Options;
class ParseResult;
}  // namespace cxxopts

namespace braid {

using Arguments = std::vector<std::string>;

struct Command {
  std::string name, summary;
  std::function<int(const Arguments&)> run;
};
const std::vector<Command>& commands();

int command_train(const Arguments& arguments);
int command_sweep(const Arguments& arguments);
int command_data(const Arguments& arguments);
int command_doctor(const Arguments& arguments);
int command_checkpoint(const Arguments& arguments);
int command_config(const Arguments& arguments);
int command_status(const Arguments& arguments);
int command_generate(const Arguments& arguments);
int command_serve(const Arguments& arguments);
int command_bench(const Arguments& arguments);
int command_eval(const Arguments& arguments);
int command_gist(const Arguments& arguments);
int command_plan(const Arguments& arguments);

// --set, --out, --device, --share-gpu, --dry-run and the configuration file itself.
struct CommonOptions {
  std::string config_path, out;
  std::vector<std::string> overrides;
  WorldOptions world;
  ResumeOptions resume;
  bool dry_run = false, help = false;
};
void add_common_options(cxxopts::Options& options);
CommonOptions common_options(const cxxopts::ParseResult& parsed);
// Parses; an unknown option is a UsageError that names the nearest known one. For -h prints the help and then `examples`
// (whatever follows the options), and returns false.
bool parse_arguments(cxxopts::Options& options, const Arguments& arguments,
                     const std::function<void(const cxxopts::ParseResult&)>& use, const std::string& examples = "");

// The value of an option, which must be one of some words. UsageError.
const std::string& one_of(const std::string& option, const std::string& value, const std::vector<std::string>& known);

// Columns of the terminal, at most `widest`; `widest` where the output is no terminal.
size_t text_width(size_t widest = 100);

// The configuration file with its overrides.
ConfigDocument open_config(const CommonOptions& options);

// Connects to the other ranks and runs `act`; its errors end all of them with one message and the right exit code.
int with_world(const WorldOptions& options, const std::function<int(World&, Logger&)>& act);

// Whether this process is the one that speaks, before ranks have met.
bool speaks_for_all();

}  // namespace braid
