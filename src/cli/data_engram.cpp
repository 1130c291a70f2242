// SPDX-License-Identifier: Apache-2.0
#include "cli/data_actions.h"

#include <iostream>

#include "base/error.h"
#include "cli/options.h"
#include "data/engram_split.h"

namespace braid {

namespace {

constexpr const char* engram_examples = R"(
Examples:
  braid data engram --patterns data/engram --variant clean --out runs/engram
  braid data engram --patterns data/engram --variant cuda --seed 7 --out runs/engram-cuda

Variants cuda and mlx split as the public Engram experiment did: most of what they test was trained
on. In clean no form of a pattern that is tested was trained on.
Exit codes: 0 done; 1 a file cannot be written; 2 wrong use or input.
)";

std::string required_option(const cxxopts::ParseResult& parsed, const std::string& name, const char* value) {
  if (!parsed.count(name)) throw UsageError(str("braid data engram: expected --", name, " ", value));
  return parsed[name].as<std::string>();
}

void split(const cxxopts::ParseResult& parsed) {
  const EngramVariant variant = engram_variant(required_option(parsed, "variant", "cuda|mlx|clean"));
  const std::string out = required_option(parsed, "out", "DIR");
  const std::vector<Pattern> patterns = read_patterns(required_option(parsed, "patterns", "DIR"));
  const EngramSplit result = split_engram(patterns, variant, parsed["seed"].as<uint64_t>());
  write_engram_split(result, variant, out);
  std::cout << "wrote " << out << "/{train,valid,test}.jsonl: " << result.train.size() << " training, "
            << result.valid.size() << " validation and " << result.test.size() << " test examples of "
            << patterns.size() << " patterns\n";
}

}  // namespace

int data_engram(const Arguments& arguments) {
  cxxopts::Options options("braid data engram", "Pattern files into train.jsonl, valid.jsonl and test.jsonl.");
  options.add_options()("patterns", "folder of pattern files (*.yaml)", cxxopts::value<std::string>(), "DIR")(
      "variant", "cuda, mlx or clean", cxxopts::value<std::string>(), "NAME")(
      "seed", "of the split", cxxopts::value<uint64_t>()->default_value("42"), "N")(
      "out", "folder for the three files", cxxopts::value<std::string>(), "DIR")("h,help", "this text");
  parse_arguments(options, arguments, split, engram_examples);
  return exit_done;
}

}  // namespace braid
