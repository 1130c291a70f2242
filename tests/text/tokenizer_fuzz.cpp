// SPDX-License-Identifier: Apache-2.0
// Changes tokenizer.json files at random and loads them: each is refused with a UsageError of one line, or works on any
// text and any ids. Built with the address and undefined-behaviour sanitizers: tokenizer_fuzz ROUNDS SEED FILE…
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "text/json_field.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace {

using namespace braid;
using Random = std::mt19937_64;

size_t below(Random& random, size_t bound) { return random() % bound; }

// A file as small as its kind allows, so that a change hits what matters: the lowest 700 ids and the merges among them.
Json shrunk(const Json& whole) {
  Json small = whole;
  Json vocab = Json::object(), merges = Json::array();
  for (const auto& [token, id] : whole["model"]["vocab"].items()) {
    if (id < 700) vocab[token] = id;
  }
  for (const Json& merge : whole["model"]["merges"]) {
    if (vocab.contains(merge[0].get<std::string>() + merge[1].get<std::string>())) merges.push_back(merge);
  }
  size_t next = vocab.size();
  for (Json& token : small["added_tokens"]) {
    if (!vocab.contains(token["content"])) token["id"] = next++;
  }
  small["post_processor"] = nullptr;
  small["model"]["vocab"] = vocab;
  small["model"]["merges"] = merges;
  return small;
}

Json& random_node(Json& json, Random& random) {
  Json* node = &json;
  while (node->is_structured() && !node->empty() && below(random, 6) != 0) {
    auto child = node->begin();
    std::advance(child, static_cast<std::ptrdiff_t>(below(random, std::min<size_t>(node->size(), 40))));
    node = &*child;
  }
  return *node;
}

Json random_value(Random& random) {
  static const char* const values[] = {
      "null",
      "true",
      "-1",
      "0",
      "1",
      "5000000000",
      "1e300",
      "0.5",
      "\"\"",
      "\" \"",
      "\"a\"",
      "\"\\u2581\"",
      "\"\\ud83e\\udd99\"",
      "[]",
      "{}",
      "[[]]",
      "[\"a\", \"b\"]",
      "\"a b\"",
      "\"first\"",
      "\"Removed\"",
      "\"MergedWithNext\"",
      "\"(\"",
      "\"\\\\s+(?!\\\\S)\"",
      R"({"type": "Split", "pattern": {"Regex": "x*|\\s"}, "behavior": "MergedWithPrevious", "invert": true})",
      R"({"type": "Split", "pattern": {"String": ""}, "behavior": "Contiguous", "invert": false})",
      R"({"type": "Metaspace", "replacement": "e", "prepend_scheme": "first"})",
      R"({"type": "Fuse"})",
      R"({"type": "ByteLevel", "add_prefix_space": true})",
      R"({"type": "Strip", "content": "a", "start": 3, "stop": 9})",
      R"({"type": "Replace", "pattern": {"Regex": "."}, "content": ""})",
      R"({"type": "Prepend", "prepend": ""})",
      R"({"id": 700, "content": " ", "single_word": true, "lstrip": true, "rstrip": true, "normalized": true, "special": true})",
      R"({"type": "ByteFallback"})",
      R"({"type": "WhitespaceSplit"})",
      R"({"type": "Sequence", "decoders": [{"type": "Fuse"}]})"};
  return Json::parse(values[below(random, std::size(values))]);
}

void change_node(Json& json, Random& random) {
  Json& node = random_node(json, random);
  const Json other = random_node(json, random);
  switch (below(random, 4)) {
    case 0:
      node = random_value(random);
      break;
    case 1:
      node = other;
      break;
    case 2:
      if (node.is_array())
        node.push_back(below(random, 2) ? other : random_value(random));
      else if (node.is_object() && !node.empty())
        node.erase(node.begin());
      break;
    default:
      if (node.is_object())
        node[std::to_string(below(random, 9))] = other;
      else if (node.is_string())
        node = node.get<std::string>() + "\u2581<0x41> a";
      else
        node = random_value(random);
  }
}

std::string changed_bytes(std::string text, Random& random) {
  for (size_t i = 0, count = 1 + below(random, 4); i < count && !text.empty(); ++i) {
    const size_t at = below(random, text.size());
    switch (below(random, 4)) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text.erase(at, 1 + below(random, 30));
        break;
      case 2:
        text.insert(at, text.substr(below(random, text.size()), below(random, 30)));
        break;
      default:
        text.resize(at);
    }
  }
  return text;
}

std::string random_text(Random& random) {
  static const char* const pieces[] = {" ",    "  ",  "the",        "a",    "\n", "1",  "é", "\u2581",
                                       "🦙", "<s>", "<|eot_id|>", "\xFF", ".",  "'s", "ab"};
  std::string text;
  for (size_t i = 0, count = below(random, 80); i < count; ++i) text += pieces[below(random, std::size(pieces))];
  return text;
}

void use(const Tokenizer& tokenizer, Random& random) {
  for (int i = 0; i < 4; ++i) {
    std::vector<TokenId> ids = tokenizer.encode(random_text(random));
    for (int k = 0; k < 6; ++k) ids.push_back(static_cast<TokenId>(random()) % 800);
    IncrementalDecoder decoder(tokenizer);
    std::string joined;
    for (const TokenId id : ids) joined += decoder.push(id);
    joined += decoder.finish();
    if (joined != tokenizer.decode(ids) || !is_valid_utf8(joined))
      throw Error("pieces do not join to the decoded text");
  }
}

// Whether the file was accepted.
bool survives(const std::string& text, Random& random) {
  try {
    use(Tokenizer::from_text(text, "FILE"), random);
    return true;
  } catch (const UsageError& problem) {
    const std::string line = problem.what();
    if (!line.starts_with("FILE: ") || line.find('\n') != std::string::npos) throw Error("not one line: " + line);
    return false;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const size_t rounds = std::stoul(words.at(0));
  Random random(std::stoull(words.at(1)));
  size_t accepted = 0, refused = 0;
  for (size_t file = 2; file < words.size(); ++file) {
    const Json small = shrunk(read_json_file(words[file]));
    if (!survives(small.dump(), random)) throw Error(words[file] + ": refused unchanged");
    for (size_t round = 0; round < rounds; ++round) {
      std::string text;
      if (round % 3 == 0) {
        text = changed_bytes(small.dump(), random);
      } else {
        Json json = small;
        for (size_t i = 0, count = 1 + below(random, 3); i < count; ++i) change_node(json, random);
        text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
      }
      try {
        survives(text, random) ? ++accepted : ++refused;
      } catch (const std::exception& problem) {
        std::cerr << "round " << round << " of " << words[file] << ": " << problem.what() << "\n" << text << "\n";
        return 1;
      }
    }
  }
  std::cout << accepted << " accepted, " << refused << " refused\n";
}
