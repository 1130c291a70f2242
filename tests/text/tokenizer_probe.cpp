// SPDX-License-Identifier: Apache-2.0
// What Braid's tokenizer makes of JSON lines: tokenizer_probe TOKENIZER encode|encode-plain|decode|decode-all|stream|
// stream-all|canonical|canonical-text [THREADS]. Reads texts or lists of ids, writes lists of ids, texts, or the pieces
// of an incremental decoding; canonical writes the canonical id of each token, canonical-text the form of texts.
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/canonical_ids.h"
#include "text/json_field.h"
#include "text/tokenizer.h"

namespace {

using namespace braid;

void encode(const Tokenizer& tokenizer, SpecialTokens special, int threads) {
  std::vector<std::string> texts;
  for (std::string line; std::getline(std::cin, line);) texts.push_back(Json::parse(line).get<std::string>());
  for (const auto& ids : tokenizer.encode_batch(texts, threads, special)) std::cout << Json(ids).dump() << "\n";
}

void decode(const Tokenizer& tokenizer, DecodeSpecial special) {
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << Json(tokenizer.decode(Json::parse(line).get<std::vector<TokenId>>(), special)).dump() << "\n";
  }
}

// Json::dump throws where a piece is no UTF-8.
void stream(const Tokenizer& tokenizer, DecodeSpecial special) {
  IncrementalDecoder decoder(tokenizer, special);
  for (std::string line; std::getline(std::cin, line);) {
    std::vector<std::string> pieces;
    for (const TokenId id : Json::parse(line).get<std::vector<TokenId>>()) pieces.push_back(decoder.push(id));
    pieces.push_back(decoder.finish());
    std::cout << Json(pieces).dump() << "\n";
  }
}

void canonical_texts() {
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << Json(canonical_text(Json::parse(line).get<std::string>())).dump() << "\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  try {
    const Tokenizer tokenizer = Tokenizer::from_file(words.at(0));
    const std::string& what = words.at(1);
    const DecodeSpecial special = what.ends_with("-all") ? DecodeSpecial::keep : DecodeSpecial::skip;
    if (what.starts_with("encode")) {
      encode(tokenizer, what == "encode" ? SpecialTokens::add : SpecialTokens::leave_out,
             words.size() > 2 ? std::stoi(words[2]) : 1);
    } else if (what == "canonical") {
      std::cout << Json(canonical_ids(tokenizer, tokenizer.vocabulary()).ids).dump() << "\n";
    } else if (what == "canonical-text") {
      canonical_texts();
    } else {
      what.starts_with("decode") ? decode(tokenizer, special) : stream(tokenizer, special);
    }
  } catch (const Error& problem) {
    std::cerr << problem.what() << "\n";
    return problem.exit_code();
  }
}
