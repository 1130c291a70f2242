// SPDX-License-Identifier: Apache-2.0
// braid data bytes, tokens and verify.
#include <iostream>

#include "base/error.h"
#include "cli/data_actions.h"
#include "cli/options.h"
#include "data/byte_shards.h"
#include "data/text_shards.h"
#include "data/token_shard.h"
#include "text/tokenizer_config.h"

namespace braid {

namespace {

constexpr const char* which_files = R"(
Without --all these count as text: .py .txt .md .rst .c .h .cpp .cu .toml .json .html. A file goes
to one side or the other as a whole, by a hash of its path. Shards of the same files are kept.
)";
constexpr const char* bytes_examples = R"(
Examples:
  braid data bytes ~/texts --out runs/shards                  # train.h5 and held-out.h5
  braid data bytes ~/texts --out runs/shards --held-out 0.1 --all
  braid train configs/lm/tiny_llama_bytes.toml --set data.path=runs/shards
)";
constexpr const char* tokens_examples = R"(
Examples:
  braid data tokens ~/texts --tokenizer runs/tokenizer.json --out runs/tokens
  braid data tokens ~/texts --tokenizer models/smol/tokenizer.json --out runs/tokens --threads 4
  braid train configs/lm/tiny_llama_bytes.toml --set data.kind=tokens --set data.path=runs/tokens \
    --set model.vocabulary=8192

Each file is a document. Behind it comes the end-of-text token: the one of --end-of-text, else
eos_token of the tokenizer_config.json beside the tokenizer, else the first of <|endoftext|>,
<|end_of_text|>, </s> and <eos> that is a special token. Tokens are uint16 where they fit.
)";
constexpr const char* verify_examples = R"(
Examples:
  braid data verify runs/shards

Exit codes: 0 whole; 1 a shard does not have the digest it was written with; 2 wrong use or input.
)";
constexpr const char* build_codes = "Exit codes: 0 done; 1 failed; 2 wrong use or input.\n";

void add_folder_options(cxxopts::Options& options) {
  options.add_options()("folder", "folder of text", cxxopts::value<std::string>())(
      "out", "folder for train.h5 and held-out.h5", cxxopts::value<std::string>(), "DIR")(
      "held-out", "share of the files kept for evaluation, above 0 and below 1",
      cxxopts::value<double>()->default_value("0.05"),
      "SHARE")("all", "take files of every extension")("h,help", "this text");
  options.parse_positional({"folder"});
  options.positional_help("TEXT_FOLDER");
}

std::string required(const cxxopts::ParseResult& parsed, const char* name, const char* usage) {
  if (!parsed.count(name)) throw UsageError(str("braid data ", usage));
  return parsed[name].as<std::string>();
}

TextFolderOptions folder_options(const cxxopts::ParseResult& parsed) {
  TextFolderOptions options;
  options.held_out_fraction = parsed["held-out"].as<double>();
  if (parsed.count("all")) options.extensions.clear();
  return options;
}

void report(const TextShardResult& result, const std::string& out) {
  std::cout << (result.built ? "wrote " : "up to date: ") << out << "/{train,held-out}.h5: " << result.files
            << " files, " << result.train_tokens << " training and " << result.held_out_tokens << " held-out tokens\n";
}

TextShardOptions shard_options(const cxxopts::ParseResult& parsed, const Tokenizer& tokenizer) {
  TextShardOptions options{folder_options(parsed), std::nullopt, parsed["threads"].as<int>()};
  if (!parsed.count("end-of-text")) {
    options.end_of_text = end_of_text(tokenizer);
    return options;
  }
  const std::string token = parsed["end-of-text"].as<std::string>();
  if (token.empty()) return options;
  options.end_of_text = tokenizer.token_to_id(token);
  if (!options.end_of_text) throw UsageError(str("--end-of-text: '", token, "' is no token of ", tokenizer.file()));
  return options;
}

}  // namespace

int data_bytes(const Arguments& arguments) {
  constexpr const char* usage = "bytes: expected TEXT_FOLDER --out DIR";
  cxxopts::Options options("braid data bytes", "Token shards of every byte of a folder of text.");
  add_folder_options(options);
  parse_arguments(
      options, arguments,
      [&](const cxxopts::ParseResult& parsed) {
        const std::string folder = required(parsed, "folder", usage), out = required(parsed, "out", usage);
        report(build_byte_shards(folder, out, folder_options(parsed)), out);
      },
      str(bytes_examples, which_files, build_codes));
  return exit_done;
}

int data_tokens(const Arguments& arguments) {
  constexpr const char* usage = "tokens: expected TEXT_FOLDER --tokenizer FILE --out DIR";
  cxxopts::Options options("braid data tokens", "Token shards of a folder of text in a tokenizer's vocabulary.");
  add_folder_options(options);
  options.add_options()("tokenizer", "a tokenizer.json", cxxopts::value<std::string>(), "FILE")(
      "end-of-text", "token behind each document; \"\" for none", cxxopts::value<std::string>(), "TOKEN")(
      "threads", "threads that encode; 0: one for each core", cxxopts::value<int>()->default_value("0"), "N");
  parse_arguments(
      options, arguments,
      [&](const cxxopts::ParseResult& parsed) {
        const std::string folder = required(parsed, "folder", usage), out = required(parsed, "out", usage);
        const Tokenizer tokenizer = Tokenizer::from_file(required(parsed, "tokenizer", usage));
        report(build_text_shards(folder, out, tokenizer, shard_options(parsed, tokenizer)), out);
        std::cout << "vocabulary " << tokenizer.vocabulary() << ": model.vocabulary must be at least that\n";
      },
      str(tokens_examples, which_files, build_codes));
  return exit_done;
}

int data_verify(const Arguments& arguments) {
  cxxopts::Options options("braid data verify", "Whether train.h5 and held-out.h5 of a folder are whole.");
  options.add_options()("folder", "folder of shards", cxxopts::value<std::string>())("h,help", "this text");
  options.parse_positional({"folder"});
  options.positional_help("DIR");
  parse_arguments(
      options, arguments,
      [&](const cxxopts::ParseResult& parsed) {
        const std::string folder = required(parsed, "folder", "verify: expected DIR, a folder of shards");
        for (const char* name : {"/train.h5", "/held-out.h5"}) {
          const TokenShard shard(folder + name);
          if (!shard.verify())
            throw Error(str(folder, name, ": its tokens do not have the digest they were written with"));
          std::cout << folder << name << ": " << shard.info().token_count << " tokens, digest right\n";
        }
      },
      verify_examples);
  return exit_done;
}

}  // namespace braid
