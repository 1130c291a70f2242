// SPDX-License-Identifier: Apache-2.0
// braid data tokenize and detokenize: JSON lines in, JSON lines out.
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/data_actions.h"
#include "cli/options.h"
#include "text/json_field.h"
#include "text/tokenizer.h"

namespace braid {

namespace {

constexpr size_t batch_bytes = 8 << 20;  // of lines that are encoded at a time

constexpr const char* tokenize_examples = R"(
Examples:
  braid data tokenize --tokenizer models/smol/tokenizer.json --jsonl texts.jsonl > ids.jsonl
  echo '{"text": "Hello world"}' | braid data tokenize --tokenizer tokenizer.json --jsonl -

Each line is an object with the member text. Special tokens in the text are found; those that stand
around a text (<s>, <|begin_of_text|>) are added unless --no-special-tokens is given.
Exit codes: 0 done; 2 wrong use, tokenizer or line; lines before a wrong one are written.
)";
constexpr const char* detokenize_examples = R"(
Examples:
  braid data detokenize --tokenizer models/smol/tokenizer.json --jsonl ids.jsonl
  braid data detokenize --tokenizer tokenizer.json --jsonl - --keep-special-tokens < ids.jsonl

Each line is an object with the member ids, a list of ids of the tokenizer.
Exit codes: 0 done; 2 wrong use, tokenizer or line; lines before a wrong one are written.
)";

// Lines of a file or, for "-", of the standard input.
class Lines {
 public:
  explicit Lines(const std::string& path) : name_(path == "-" ? "standard input" : path) {
    if (path == "-") return;
    if (std::filesystem::is_directory(path)) throw UsageError(str(path, ": is a folder; expected a file of JSON lines"));
    errno = 0;
    file_.open(path, std::ios::binary);
    if (!file_) throw UsageError(str(path, ": cannot be read: ", std::strerror(errno)));
  }
  bool next(std::string& line) {
    if (!std::getline(file_.is_open() ? static_cast<std::istream&>(file_) : std::cin, line)) return false;
    ++number_;
    return true;
  }
  std::string place() const { return str(name_, ":", number_); }

 private:
  std::string name_;
  std::ifstream file_;
  int64_t number_ = 0;
};

std::string text_of(const std::string& line, const std::string& place) {
  const Json json = parse_json(line, place);
  return JsonField(json, place).at("text").text();
}

std::vector<TokenId> ids_of(const std::string& line, const std::string& place, const Tokenizer& tokenizer) {
  const Json json = parse_json(line, place);
  std::vector<TokenId> ids;
  for (const JsonField& id : JsonField(json, place).at("ids").list()) {
    ids.push_back(static_cast<TokenId>(id.whole_number(0, tokenizer.vocabulary() - 1)));
    if (!tokenizer.id_to_token(ids.back())) id.refuse("no token has this id");
  }
  return ids;
}

void write_ids(const std::vector<std::vector<TokenId>>& all) {
  std::string out;
  for (const std::vector<TokenId>& ids : all) {
    out += "{\"ids\": [";
    for (size_t i = 0; i < ids.size(); ++i) out += (i ? ", " : "") + std::to_string(ids[i]);
    out += "]}\n";
  }
  std::cout.write(out.data(), static_cast<std::streamsize>(out.size()));
  if (!std::cout) throw Error("the standard output cannot be written");
}

void tokenize(const Tokenizer& tokenizer, const std::string& path, int threads, SpecialTokens special) {
  Lines lines(path);
  std::vector<std::string> texts;
  size_t bytes = 0;
  const auto flush = [&] {
    write_ids(tokenizer.encode_batch(texts, threads, special));
    texts.clear();
    bytes = 0;
  };
  try {
    for (std::string line; lines.next(line);) {
      texts.push_back(text_of(line, lines.place()));
      bytes += line.size();
      if (bytes >= batch_bytes) flush();
    }
  } catch (const UsageError&) {
    flush();
    throw;
  }
  flush();
}

void detokenize(const Tokenizer& tokenizer, const std::string& path, DecodeSpecial special) {
  Lines lines(path);
  for (std::string line; lines.next(line);) {
    const Json text = {{"text", tokenizer.decode(ids_of(line, lines.place(), tokenizer), special)}};
    std::cout << text.dump() << "\n";
  }
}

void add_common(cxxopts::Options& options) {
  options.add_options()("tokenizer", "a tokenizer.json", cxxopts::value<std::string>(), "FILE")(
      "jsonl", "lines to read; -: the standard input", cxxopts::value<std::string>(), "FILE|-")("h,help", "this text");
}

std::pair<Tokenizer, std::string> read_common(const cxxopts::ParseResult& parsed, const std::string& action) {
  if (!parsed.count("tokenizer") || !parsed.count("jsonl")) {
    throw UsageError(str("braid data ", action, ": expected --tokenizer FILE --jsonl FILE|-"));
  }
  return {Tokenizer::from_file(parsed["tokenizer"].as<std::string>()), parsed["jsonl"].as<std::string>()};
}

}  // namespace

int data_tokenize(const Arguments& arguments) {
  cxxopts::Options options("braid data tokenize", "Lines {\"text\": ...} to lines {\"ids\": [...]}.");
  add_common(options);
  options.add_options()("no-special-tokens", "leave out the tokens that stand around a text")(
      "threads", "threads that encode; 0: one for each core", cxxopts::value<int>()->default_value("0"), "N");
  parse_arguments(
      options, arguments,
      [&](const cxxopts::ParseResult& parsed) {
        const auto [tokenizer, path] = read_common(parsed, "tokenize");
        const auto special = parsed.count("no-special-tokens") ? SpecialTokens::leave_out : SpecialTokens::add;
        tokenize(tokenizer, path, parsed["threads"].as<int>(), special);
      },
      tokenize_examples);
  return exit_done;
}

int data_detokenize(const Arguments& arguments) {
  cxxopts::Options options("braid data detokenize", "Lines {\"ids\": [...]} to lines {\"text\": ...}.");
  add_common(options);
  options.add_options()("keep-special-tokens", "write special tokens, too");
  parse_arguments(
      options, arguments,
      [&](const cxxopts::ParseResult& parsed) {
        const auto [tokenizer, path] = read_common(parsed, "detokenize");
        detokenize(tokenizer, path, parsed.count("keep-special-tokens") ? DecodeSpecial::keep : DecodeSpecial::skip);
      },
      detokenize_examples);
  return exit_done;
}

}  // namespace braid
