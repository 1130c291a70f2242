// SPDX-License-Identifier: Apache-2.0
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "base/error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "comm/agreement.h"

namespace braid {

void add_common_options(cxxopts::Options& options) {
  options.add_options()("config", "configuration file", cxxopts::value<std::string>())(
      "set", "override one key of the file: --set train.steps=5 (repeatable)",
      cxxopts::value<std::vector<std::string>>(), "KEY=VALUE")(
      "out", "folder for what is written; a run or sweep that is there already goes on (default: runs/CONFIG-TIME)",
      cxxopts::value<std::string>(), "DIR")(
      "device", "auto, cpu or cuda; auto takes a GPU where there is one",
      cxxopts::value<std::string>()->default_value("auto"), "NAME")(
      "share-gpu", "allow several ranks on one GPU")(
      "allow-config-change", "go on with a run although what it computes is configured differently now")("dry-run", "print the plan and stop; nothing is written")(
      "h,help", "this text");
  options.parse_positional({"config"});
  options.positional_help("CONFIG");
}

const std::string& one_of(const std::string& option, const std::string& value, const std::vector<std::string>& known) {
  for (const std::string& name : known) {
    if (name == value) return value;
  }
  std::string names;
  for (const std::string& name : known) {
    const char* between = names.empty() ? "" : name == known.back() ? " or " : ", ";
    names += between + name;
  }
  throw UsageError(str("--", option, " ", value, ": expected ", names));
}

CommonOptions common_options(const cxxopts::ParseResult& parsed) {
  CommonOptions common;
  if (!parsed.count("config")) throw UsageError("no configuration file given; see configs/ for complete ones");
  common.config_path = parsed["config"].as<std::string>();
  if (parsed.count("set")) common.overrides = parsed["set"].as<std::vector<std::string>>();
  if (parsed.count("out")) common.out = parsed["out"].as<std::string>();
  common.world.device = parsed["device"].as<std::string>();
  common.world.share_gpu = parsed.count("share-gpu") > 0;
  common.dry_run = parsed.count("dry-run") > 0;
  common.resume.allow_config_change = parsed.count("allow-config-change") > 0;
  one_of("device", common.world.device, {"auto", "cpu", "cuda"});
  return common;
}

namespace {

std::vector<std::string> option_names(const cxxopts::Options& options) {
  std::vector<std::string> names;
  for (const auto& option : options.group_help("").options) names.insert(names.end(), option.l.begin(), option.l.end());
  return names;
}

// "--devise": unknown, with the nearest there is.
void require_known(const cxxopts::Options& options, const Arguments& arguments) {
  const std::vector<std::string> known = option_names(options);
  for (const std::string& argument : arguments) {
    const std::string name = argument.substr(0, argument.find('='));
    if (!name.starts_with("--") || name == "--" || std::find(known.begin(), known.end(), name.substr(2)) != known.end()) continue;
    const std::string nearest = nearest_name(name.substr(2), known);
    throw UsageError(str(options.program(), ": unknown option ", name, nearest.empty() ? "" : "; nearest: --" + nearest));
  }
}

}  // namespace

bool parse_arguments(cxxopts::Options& options, const Arguments& arguments,
                     const std::function<void(const cxxopts::ParseResult&)>& use, const std::string& examples) {
  require_known(options, arguments);
  std::vector<const char*> argv = {"braid"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  try {
    const auto parsed = options.parse(static_cast<int>(argv.size()), argv.data());
    if (parsed.count("help")) {
      options.set_width(100).custom_help("[options]");
      std::string text = options.help();
      text.insert(text.find("\nUsage:"), "\n");
      if (speaks_for_all()) std::cout << text << examples;
      return false;
    }
    if (!parsed.unmatched().empty()) throw UsageError(str("unexpected argument '", parsed.unmatched().front(), "'"));
    use(parsed);
  } catch (const cxxopts::exceptions::exception& problem) {
    throw UsageError(str(options.program(), ": ", problem.what(), "; see ", options.program(), " --help"));
  }
  return true;
}

ConfigDocument open_config(const CommonOptions& options) {
  ConfigDocument document = ConfigDocument::from_file(options.config_path);
  for (const std::string& assignment : options.overrides) document.override_with(assignment);
  return document;
}

int with_world(const WorldOptions& options, const std::function<int(World&, Logger&)>& act) {
  const std::unique_ptr<World> world = World::connect(options);
  Logger logger(world->rank(), world->size());
  try {
    return act(*world, logger);
  } catch (const AgreedError& error) {
    if (world->rank() == 0) std::cerr << str("braid: ", error.what(), "\n") << std::flush;
    return error.exit_code();
  } catch (const Error& error) {
    if (world->size() == 1) throw;
    world->abort(error.what(), error.exit_code());
  } catch (const std::exception& error) {
    if (world->size() == 1) throw;
    world->abort(error.what(), exit_failed);
  }
}

size_t text_width(size_t widest) {
  winsize size = {};
  if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return widest;
  return std::min<size_t>(size.ws_col, widest);
}

bool speaks_for_all() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "BRAID_RANK", "PMIX_RANK", "SLURM_PROCID"}) {
    if (const char* rank = std::getenv(name)) return std::string(rank) == "0";
  }
  return true;
}

}  // namespace braid
