// SPDX-License-Identifier: Apache-2.0
// braid data engram: pattern files into the examples of the Engram experiment.
#include <iostream>

#include "base/error.h"
#include "cli/data_actions.h"
#include "cli/options.h"
#include "data/engram_split.h"

namespace braid {

namespace {

constexpr const char* engram_examples = R"(
Examples:
  braid data engram --patterns data/engram --variant clean --out runs/engram
  braid data engram --patterns ~/patterns --variant cuda --out runs/engram-cuda

cuda and mlx split as the public experiment's programs did: most of the test was trained on, so that
recall is measured. clean splits by pattern: no form of a pattern that is tested was trained on.
Exit codes: 0 done; 1 failed; 2 wrong use or input.
)";

std::string required(const cxxopts::ParseResult& parsed, const std::string& name, const char* value) {
  if (!parsed.count(name)) throw UsageError(str("braid data engram: expected --", name, " ", value));
  return parsed[name].as<std::string>();
}

int split(const cxxopts::ParseResult& parsed) {
  const EngramVariant variant = engram_variant(required(parsed, "variant", "cuda|mlx|clean"));
  const std::string out = required(parsed, "out", "DIR");
  const std::vector<Pattern> patterns = read_patterns(required(parsed, "patterns", "DIR"));
  const EngramSplit split = split_engram(patterns, variant, parsed["seed"].as<uint64_t>());
  write_engram_split(split, variant, out);
  std::cout << "wrote " << out << "/{train,valid,test}.jsonl: " << split.train.size() << " training, "
            << split.valid.size() << " validation and " << split.test.size() << " test examples of " << patterns.size()
            << " patterns\n";
  return exit_done;
}

}  // namespace

int data_engram(const Arguments& arguments) {
  cxxopts::Options options("braid data engram", "Pattern files into examples to be learnt by heart.");
  options.add_options()("patterns", "folder of pattern files (*.yaml)", cxxopts::value<std::string>(), "DIR")(
      "variant", "cuda and mlx split as the public experiment did, clean by pattern", cxxopts::value<std::string>(),
      "NAME")("out", "folder for train.jsonl, valid.jsonl and test.jsonl", cxxopts::value<std::string>(), "DIR")(
      "seed", "of the split", cxxopts::value<uint64_t>()->default_value("42"), "N")("h,help", "this text");
  int code = exit_done;
  parse_arguments(options, arguments, [&](const cxxopts::ParseResult& parsed) { code = split(parsed); }, engram_examples);
  return code;
}

}  // namespace braid
