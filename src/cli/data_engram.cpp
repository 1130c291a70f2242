// SPDX-License-Identifier: Apache-2.0
#include "cli/data_engram.h"

#include <iostream>

#include "base/error.h"
#include "cli/options.h"
#include "data/engram_split.h"

namespace braid {

namespace {

std::string required_option(const cxxopts::ParseResult& parsed, const std::string& name, const char* value) {
  if (!parsed.count(name)) throw UsageError(str("braid data engram: expected --", name, " ", value));
  return parsed[name].as<std::string>();
}

}  // namespace

void add_engram_options(cxxopts::Options& options) {
  options.add_options()("patterns", "engram: folder of pattern files (*.yaml)", cxxopts::value<std::string>(), "DIR")(
      "variant", "engram: cuda and mlx split as the public experiment did, clean by pattern",
      cxxopts::value<std::string>(), "NAME")("seed", "engram: of the split",
                                             cxxopts::value<uint64_t>()->default_value("42"), "N");
}

int split_engram_patterns(const cxxopts::ParseResult& parsed) {
  if (parsed.count("folder")) throw UsageError("braid data engram: expected the folder of patterns as --patterns DIR");
  const EngramVariant variant = engram_variant(required_option(parsed, "variant", "cuda|mlx|clean"));
  const std::string out = required_option(parsed, "out", "DIR");
  const std::vector<Pattern> patterns = read_patterns(required_option(parsed, "patterns", "DIR"));
  const EngramSplit split = split_engram(patterns, variant, parsed["seed"].as<uint64_t>());
  write_engram_split(split, variant, out);
  std::cout << "wrote " << out << "/{train,valid,test}.jsonl: " << split.train.size() << " training, "
            << split.valid.size() << " validation and " << split.test.size() << " test examples of " << patterns.size()
            << " patterns\n";
  return exit_done;
}

}  // namespace braid
