// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <iostream>

#include "base/error.h"
#include "cli/command.h"
#include "cli/data_engram.h"
#include "cli/options.h"
#include "data/byte_shards.h"
#include "data/token_shard.h"

namespace braid {

namespace {

constexpr const char* data_examples = R"(
Examples:
  braid data bytes ~/texts --out runs/shards                  # train.h5 and held-out.h5
  braid data bytes ~/texts --out runs/shards --held-out 0.1 --all
  braid data verify runs/shards
  braid data engram --patterns data/engram --variant clean --out runs/engram
  braid train configs/lm/tiny_llama_bytes.toml --set data.path=runs/shards

Without --all these count as text: .py .txt .md .rst .c .h .cpp .cu .toml .json .html. A file goes
to one side or the other as a whole, by a hash of its path. Shards of the same files are kept.
Exit codes: 0 done; 1 a shard does not have the digest it was written with; 2 wrong use or input.
)";

int build(const std::string& text, const std::string& out, double held_out_fraction, bool every_file) {
  ByteShardOptions options;
  options.held_out_fraction = held_out_fraction;
  if (every_file) options.extensions.clear();
  const ByteShardResult result = build_byte_shards(text, out, options);
  std::cout << (result.built ? "wrote " : "up to date: ") << out << "/{train,held-out}.h5: " << result.files << " files, "
            << result.train_tokens << " training and " << result.held_out_tokens << " held-out tokens\n";
  return exit_done;
}

int verify(const std::string& folder) {
  for (const char* name : {"/train.h5", "/held-out.h5"}) {
    const TokenShard shard(folder + name);
    if (!shard.verify()) throw Error(str(folder, name, ": its tokens do not have the digest they were written with"));
    std::cout << folder << name << ": " << shard.info().token_count << " tokens, digest right\n";
  }
  return exit_done;
}

}  // namespace

int command_data(const Arguments& arguments) {
  if (!arguments.empty() && arguments.front() == "engram") return data_engram({arguments.begin() + 1, arguments.end()});
  cxxopts::Options options("braid data",
                           "bytes TEXT_FOLDER --out DIR: token shards of every byte of a folder of text.\n"
                           "verify DIR: whether shards are whole.\n"
                           "engram --patterns DIR --variant NAME --out DIR: examples to be learnt by heart; see\n"
                           "braid data engram --help.");
  options.add_options()("action", "bytes or verify", cxxopts::value<std::string>())(
      "folder", "folder of text, or of shards", cxxopts::value<std::string>())(
      "out", "bytes: folder for train.h5 and held-out.h5", cxxopts::value<std::string>(), "DIR")(
      "held-out", "bytes: share of the files kept for evaluation, above 0 and below 1",
      cxxopts::value<double>()->default_value("0.05"), "SHARE")(
      "all", "bytes: take files of every extension")("h,help", "this text");
  options.parse_positional({"action", "folder"});
  options.positional_help("ACTION FOLDER");
  int code = exit_done;
  parse_arguments(options, arguments, [&](const cxxopts::ParseResult& parsed) {
    if (!parsed.count("folder")) {
      throw UsageError("braid data: expected bytes TEXT_FOLDER --out DIR, verify DIR, or engram --patterns DIR");
    }
    const std::string action = parsed["action"].as<std::string>(), folder = parsed["folder"].as<std::string>();
    if (action == "verify") {
      code = verify(folder);
    } else if (action == "bytes") {
      if (!parsed.count("out")) throw UsageError("braid data bytes: expected --out DIR");
      code = build(folder, parsed["out"].as<std::string>(), parsed["held-out"].as<double>(), parsed.count("all") > 0);
    } else {
      throw UsageError(str("braid data: unknown action '", action, "'; expected bytes, verify or engram"));
    }
  }, data_examples);
  return code;
}

}  // namespace braid
