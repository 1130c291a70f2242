// SPDX-License-Identifier: Apache-2.0
// braid: one binary, one small file per subcommand.
#include <iostream>

#include "base/error.h"
#include "cli/command.h"
#include "experiments/version.h"

namespace braid {

const std::vector<Command>& commands() {
  static const std::vector<Command> all = {
      {"train", "train one configuration, on as many ranks as it is started with", command_train},
      {"sweep", "depths x connections x seeds, one run after another or side by side", command_sweep},
      {"plan", "ways to spread a run over a cluster, with memory, traffic and time", command_plan},
      {"data", "make and check token shards", command_data},
      {"config", "a configuration in full, or what its keys mean", command_config},
      {"checkpoint", "look into checkpoints, verify, compare and convert them", command_checkpoint},
      {"eval", "what a model and its adapter answer to the Engram test", command_eval},
      {"gist", "compress contexts into a file once, and ask it many times", command_gist},
      {"generate", "continue texts or token ids with a model", command_generate},
      {"serve", "answer over HTTP, as OpenAI's API has it", command_serve},
      {"status", "how far runs and sweeps are, from their folders", command_status},
      {"doctor", "what this machine, its GPUs and its ranks can do", command_doctor},
      {"bench", "bandwidth and latency of collectives between ranks", command_bench},
  };
  return all;
}

namespace {

void print_usage() {
  std::cout << "braid " << library_versions().braid << ": trains language models over many GPUs and machines\n\n"
            << "usage: braid COMMAND [options]\n\n";
  for (const Command& command : commands()) {
    std::cout << "  " << command.name << std::string(12 - command.name.size(), ' ') << command.summary << "\n";
  }
  std::cout
      << "\nbraid COMMAND --help tells a command's options, with examples; braid --version: version and commit.\n\n"
      << "Examples:\n"
      << "  braid train configs/mhc/demo_mhc.toml --out runs/a --set train.steps=10\n"
      << "  braid status runs/a\n"
      << "  braid config --explain train\n\n"
      << "Exit codes: 0 done; 1 failed; 2 wrong use or configuration; 85 stopped, start me again.\n";
}

int run_command(const std::string& name, const Arguments& arguments) {
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    if (command.name == name) return command.run(arguments);
    names.push_back(command.name);
  }
  const std::string nearest = nearest_name(name, names);
  throw UsageError(str("unknown command '", name, "'", nearest.empty() ? "" : "; nearest: " + nearest));
}

int dispatch(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "--help";
  if (name == "--version") {
    std::cout << library_versions().braid << " " << git_commit() << "\n";
    return exit_done;
  }
  if (name == "--help" || name == "-h" || name == "help") {
    print_usage();
    return exit_done;
  }
  return run_command(name, Arguments(argv + 2, argv + argc));
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  try {
    return braid::dispatch(argc, argv);
  } catch (const braid::Error& error) {
    if (braid::speaks_for_all()) std::cerr << braid::str("braid: ", error.what(), "\n") << std::flush;
    return error.exit_code();
  } catch (const std::exception& error) {
    std::cerr << braid::str("braid: ", error.what(), "\n") << std::flush;
    return braid::exit_failed;
  }
}
