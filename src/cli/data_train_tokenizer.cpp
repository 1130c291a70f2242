// SPDX-License-Identifier: Apache-2.0
// braid data train-tokenizer: a tokenizer where none can be downloaded.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/data_actions.h"
#include "cli/options.h"
#include "data/text_folder.h"
#include "store/posix_file.h"
#include "text/bpe_trainer.h"
#include "text/tokenizer.h"

namespace braid {

namespace {

namespace fs = std::filesystem;

constexpr const char* train_examples = R"(
Examples:
  braid data train-tokenizer ~/texts --vocabulary 8192 --out runs/tokenizer.json
  braid data train-tokenizer ~/texts --vocabulary 4096 --out runs/chat/tokenizer.json \
    --special '<|endoftext|>' --special '<|im_start|>' --special '<|im_end|>'

The same files give the same tokenizer. Special tokens get ids from 0 in the order given; the first
one ends a document: where FILE is called tokenizer.json, tokenizer_config.json beside it says so.
Both files load in Hugging Face's tokenizers and transformers. Without --all these count as text:
.py .txt .md .rst .c .h .cpp .cu .toml .json .html; files that braid data tokens will hold out are
not left out.
Exit codes: 0 done; 1 failed; 2 wrong use or input.
)";

void write_file(const fs::path& path, const std::string& text) {
  const std::string temporary = path.string() + ".new";
  PosixFile file = PosixFile::create(temporary);
  file.write(text.data(), text.size(), 0);
  file.sync();
  rename_file(temporary, path.string());
}

std::string config_json(const std::string& end_of_text) {
  const Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                       {"eos_token", end_of_text},
                       {"clean_up_tokenization_spaces", false}};
  return config.dump(2) + "\n";
}

std::string read_whole(const std::string& folder, const TextFile& file) {
  std::string text;
  read_text(folder, file, [&](std::string_view piece) { text += piece; });
  return text;
}

int train(const std::string& folder, const fs::path& out, bool every_file, const BpeTrainerOptions& options) {
  TextFolderOptions which;
  if (every_file) which.extensions.clear();
  BpeTrainer trainer(options);
  const std::vector<TextFile> files = list_text(folder, which);
  if (files.empty()) throw UsageError(str(folder, ": holds no text files"));
  int64_t bytes = 0;
  for (const TextFile& file : files) {
    trainer.add(read_whole(folder, file));
    bytes += file.bytes;
  }
  const std::string json = trainer.train();
  const Tokenizer made = Tokenizer::from_text(json, out.string());
  if (out.has_parent_path()) make_shard_folder(out.parent_path().string());
  write_file(out, json);
  if (out.filename() == "tokenizer.json" && !options.special_tokens.empty()) {
    write_file(out.parent_path() / "tokenizer_config.json", config_json(options.special_tokens.front()));
  }
  std::cout << "wrote " << out.string() << ": " << made.tokens() << " tokens from " << files.size() << " files, "
            << bytes << " bytes\n";
  return exit_done;
}

}  // namespace

int data_train_tokenizer(const Arguments& arguments) {
  cxxopts::Options options("braid data train-tokenizer", "A byte-level BPE tokenizer.json from a folder of text.");
  options.add_options()("folder", "folder of text", cxxopts::value<std::string>())(
      "vocabulary", "tokens in all, the 256 bytes and special tokens among them", cxxopts::value<int64_t>(), "N")(
      "out", "the tokenizer.json to write", cxxopts::value<std::string>(), "FILE")(
      "special", "a special token (repeatable; default <|endoftext|>)", cxxopts::value<std::vector<std::string>>(),
      "TOKEN")("least-count", "how often a pair must come to become a token",
               cxxopts::value<int64_t>()->default_value("2"),
               "N")("all", "take files of every extension")("h,help", "this text");
  options.parse_positional({"folder"});
  options.positional_help("TEXT_FOLDER");
  int code = exit_done;
  parse_arguments(
      options, arguments,
      [&](const cxxopts::ParseResult& parsed) {
        if (!parsed.count("folder") || !parsed.count("vocabulary") || !parsed.count("out")) {
          throw UsageError("braid data train-tokenizer: expected TEXT_FOLDER --vocabulary N --out FILE");
        }
        BpeTrainerOptions training;
        training.vocabulary = parsed["vocabulary"].as<int64_t>();
        training.least_count = std::max<int64_t>(1, parsed["least-count"].as<int64_t>());
        if (parsed.count("special")) training.special_tokens = parsed["special"].as<std::vector<std::string>>();
        code = train(parsed["folder"].as<std::string>(), parsed["out"].as<std::string>(), parsed.count("all") > 0,
                     training);
      },
      train_examples);
  return code;
}

}  // namespace braid
