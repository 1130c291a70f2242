// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "base/error.h"
#include "cli/data_actions.h"
#include "cli/options.h"
#include "data/needle_check.h"
#include "data/needle_files.h"

namespace braid {

namespace {

constexpr const char* check_examples = R"(
Examples:
  braid data check runs/needles/global-test.jsonl
  braid data check runs/needles/global-train.jsonl runs/needles/global-test.jsonl
  braid data check global_niah.jsonl                    # lines of the public experiment, too

Each needle stands once in its context and its token span decodes to it; an HDF5 file of the same
name beside it holds the same tokens; over all files, no key of a training sample is one of a test
sample.
Exit codes: 0 all of it holds; 1 it does not, and the first sample is named; 2 wrong use or input.
)";

}  // namespace

int data_check(const Arguments& arguments) {
  cxxopts::Options options("braid data check", "Whether files of needle samples are what they say.");
  options.add_options()("files", "files of JSON lines", cxxopts::value<std::vector<std::string>>())(
      "tokenizer", "the tokenizer.json of the token spans (default: the one they were made with)",
      cxxopts::value<std::string>(), "FILE")("h,help", "this text");
  options.parse_positional({"files"});
  options.positional_help("FILE…");
  parse_arguments(
      options, arguments,
      [](const cxxopts::ParseResult& parsed) {
        if (!parsed.count("files")) throw UsageError("braid data check: expected FILE…");
        std::optional<NeedleTokens> tokens;
        if (parsed.count("tokenizer")) tokens = NeedleTokens::from_file(parsed["tokenizer"].as<std::string>());
        std::vector<NeedleFile> files;
        for (const std::string& path : parsed["files"].as<std::vector<std::string>>())
          files.push_back({path, read_needles(path)});
        for (const NeedleFile& file : files) {
          check_needle_file(file, tokens);
          std::cout << describe(file);
        }
        check_disjoint_keys(files);
        std::cout << describe_splits(files);
      },
      check_examples);
  return exit_done;
}

}  // namespace braid
