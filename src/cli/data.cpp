// SPDX-License-Identifier: Apache-2.0
// braid data: what happens to text before training.
#include <iostream>

#include "base/config.h"
#include "base/error.h"
#include "cli/data_actions.h"

namespace braid {

namespace {

constexpr const char* data_help = R"(braid data: token shards and tokenizers

usage: braid data ACTION [options]

  bytes            token shards of every byte of a folder of text
  tokens           token shards of a folder of text in a tokenizer's vocabulary
  verify           whether shards are whole
  train-tokenizer  a byte-level BPE tokenizer.json from a folder of text
  tokenize         lines {"text": ...} to lines {"ids": [...]}
  detokenize       lines {"ids": [...]} to lines {"text": ...}
  engram           pattern files to examples: --patterns DIR --variant NAME --out DIR
  needles          needle-in-a-haystack samples: --preset global|korean --out DIR
  check            whether files of needle samples are what they say

braid data ACTION --help tells an action's options.

Examples:
  braid data bytes ~/texts --out runs/shards                  # train.h5 and held-out.h5
  braid data verify runs/shards
  braid data engram --patterns data/engram --variant clean --out runs/engram
  braid data needles --preset korean --out runs/needles       # korean-test.jsonl and .h5
  braid data check runs/needles/korean-test.jsonl
  braid train configs/lm/tiny_llama_bytes.toml --set data.path=runs/shards
  braid data train-tokenizer ~/texts --vocabulary 8192 --out runs/tokenizer.json
  braid data tokens ~/texts --tokenizer runs/tokenizer.json --out runs/tokens
  echo '{"text": "Hello world"}' | braid data tokenize --tokenizer runs/tokenizer.json --jsonl -

Exit codes: 0 done; 1 a shard or a sample is not what it says; 2 wrong use or input.
)";

struct Action {
  const char* name;
  int (*run)(const Arguments&);
};
constexpr Action actions[] = {{"bytes", data_bytes},       {"tokens", data_tokens},
                              {"verify", data_verify},     {"train-tokenizer", data_train_tokenizer},
                              {"tokenize", data_tokenize}, {"detokenize", data_detokenize},
                              {"engram", data_engram},     {"needles", data_needles},
                              {"check", data_check}};

}  // namespace

int command_data(const Arguments& arguments) {
  const std::string name = arguments.empty() ? "" : arguments.front();
  if (name == "--help" || name == "-h") {
    if (speaks_for_all()) std::cout << data_help;
    return exit_done;
  }
  std::vector<std::string> names;
  for (const Action& action : actions) {
    if (name == action.name) return action.run(Arguments(arguments.begin() + 1, arguments.end()));
    names.push_back(action.name);
  }
  const std::string nearest = nearest_name(name, names);
  throw UsageError(str("braid data: ", name.empty() ? "an action is missing" : "unknown action '" + name + "'", "; ",
                       nearest.empty() ? "expected bytes, tokens, verify, train-tokenizer, tokenize, detokenize, engram, needles or check"
                                       : "nearest: " + nearest));
}

}  // namespace braid
