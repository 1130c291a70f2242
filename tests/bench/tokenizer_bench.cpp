// SPDX-License-Identifier: Apache-2.0
// How long Braid's tokenizer takes for the texts of a JSON file, each met for the first time:
// tokenizer_bench TOKENIZER TEXTS single|batch THREADS. Prints seconds and a
// digest of the ids: the sum of place times id, both from 1.
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/json_field.h"
#include "text/tokenizer.h"

namespace {

using namespace braid;
using Ids = std::vector<std::vector<TokenId>>;

Ids encode_one_by_one(const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  Ids all;
  for (const std::string& text : texts) all.push_back(tokenizer.encode(text));
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const Tokenizer tokenizer = Tokenizer::from_file(words.at(0));
  const std::vector<std::string> texts = read_json_file(words.at(1));
  const int threads = std::stoi(words.at(3));
  const auto start = std::chrono::steady_clock::now();
  const Ids all =
      words.at(2) == "single" ? encode_one_by_one(tokenizer, texts) : tokenizer.encode_batch(texts, threads);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  uint64_t tokens = 0, digest = 0;
  for (const std::vector<TokenId>& ids : all) {
    for (const TokenId id : ids) digest += ++tokens * (static_cast<uint64_t>(id) + 1);
  }
  std::cout << Json({{"seconds", seconds.count()}, {"tokens", tokens}, {"digest", digest}}).dump() << "\n";
}
