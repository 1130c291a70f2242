// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "base/error.h"
#include "cli/command.h"
#include "cli/options.h"

namespace braid {

int command_config(const Arguments& arguments) {
  cxxopts::Options options("braid config", "Prints a configuration with every key and its value, or all keys.");
  add_common_options(options);
  options.add_options()("keys", "list every key with type, default, range and meaning");
  CommonOptions common;
  bool keys = false;
  const auto use = [&](const cxxopts::ParseResult& parsed) {
    keys = parsed.count("keys") > 0;
    if (!keys) common = common_options(parsed);
  };
  if (!parse_arguments(options, arguments, use)) return 0;
  RunConfig config;
  if (keys) {
    std::cout << config_reference([&](ConfigSection& section) { config.describe(section); });
    return exit_done;
  }
  config = read_run_config(open_config(common));
  std::cout << to_toml(config);
  return exit_done;
}

}  // namespace braid
