// SPDX-License-Identifier: Apache-2.0
// What cannot be used is one line that names the file and the field.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/json_field.h"
#include "text/pattern_syntax.h"
#include "text/tokenizer.h"
#include "text/tokenizer_config.h"

namespace braid {
namespace {

const Json& fixture() {
  static const Json json =
      read_json_file((std::filesystem::path(__FILE__).parent_path() / "data" / "tiny.json").string());
  return json;
}

std::string refusal(const std::string& text) {
  try {
    Tokenizer::from_text(text, "FILE").encode("ab c");
  } catch (const UsageError& problem) {
    return problem.what();
  }
  return "accepted";
}

struct Change {
  const char* at;       // JSON pointer
  const char* value;    // JSON
  const char* message;  // part of it
};

class Refused : public testing::TestWithParam<Change> {};

TEST_P(Refused, IsOneLineWithFileAndField) {
  Json json = fixture();
  json[Json::json_pointer(GetParam().at)] = Json::parse(GetParam().value);
  const std::string message = refusal(json.dump());
  EXPECT_TRUE(message.starts_with("FILE: ")) << message;
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

constexpr const char* regex_pattern =
    R"JSON({"type": "Split", "pattern": {"Regex": "a(?<n>b)"}, "behavior": "Isolated"})JSON";

INSTANTIATE_TEST_SUITE_P(
    Components, Refused,
    testing::Values(
        Change{"/model", "null", "model is missing"}, Change{"/model", "[]", "model: expected an object"},
        Change{"/model/type", "\"Unigram\"", "model.type: expected BPE"},
        Change{"/model/dropout", "0.1", "model.dropout: expected 0 or null"},
        Change{"/model/end_of_word_suffix", "\"</w>\"", "model.end_of_word_suffix: is not supported"},
        Change{"/model/fuse_unk", "1", "model.fuse_unk: expected true or false"},
        Change{"/model/unk_token", "7", "model.unk_token: expected a text"},
        Change{"/model/vocab", "[]", "model.vocab: expected an object"},
        Change{"/model/vocab/x y", "-1", "model.vocab: \"x y\": expected an id from 0"},
        Change{"/model/vocab/x y", "4294967296", "model.vocab: \"x y\": expected an id from 0"},
        Change{"/model/vocab/x y", "0.5", "model.vocab: \"x y\": expected an id from 0"},
        Change{"/model/vocab/x y", "17", "id 17 is taken"},
        Change{"/model/merges", "{}", "model.merges: expected a list"},
        Change{"/model/merges/3", "\"a\"", "model.merges[3]: expected two tokens"},
        Change{"/model/merges/3", "\"a b c\"", "model.merges[3]: expected two tokens"},
        Change{"/model/merges/3", "[\"a\"]", "model.merges[3]: expected two tokens"},
        Change{"/model/merges/3", "[\"zzzz\", \"a\"]", "model.merges[3]: \"zzzz\" is not in the vocabulary"},
        Change{"/model/merges/3", "[\"<s>\", \"<s>\"]", "model.merges[3]: \"<s><s>\" is not in the vocabulary"},
        Change{"/added_tokens/1/id", "9", "added_tokens[1]: id: \"<s>\" has id 1"},
        Change{"/added_tokens/1/id", "\"1\"", "added_tokens[1].id: expected a whole number"},
        Change{"/added_tokens/1/lstrip", "null", "added_tokens[1]: lstrip is missing"},
        Change{"/added_tokens/1/content", "\"</s>\"", "\"</s>\" has id 2"},
        Change{"/added_tokens", "{}", "added_tokens: expected a list"},
        Change{"/normalizer", "{\"type\": \"Nmt\"}", "normalizer: normalizer \"Nmt\" is not supported"},
        Change{"/normalizer/normalizers/0/prepend", "null", "normalizer.normalizers[0]: prepend is missing"},
        Change{"/normalizer/normalizers/1/pattern", "{}", "normalizer.normalizers[1].pattern: expected"},
        Change{"/pre_tokenizer", "{\"type\": \"Punctuation\"}", "pre_tokenizer: pre-tokenizer \"Punctuation\""},
        Change{"/pre_tokenizer", "{\"type\": \"Metaspace\", \"replacement\": \"ab\"}", "pre_tokenizer.replacement"},
        Change{"/pre_tokenizer", "{}", "pre_tokenizer: type is missing"},
        Change{"/pre_tokenizer", regex_pattern, "pre_tokenizer.pattern: the group '(?<n' is not supported"},
        Change{"/post_processor", "{\"type\": \"BertProcessing\"}",
               "post_processor: post-processor \"BertProcessing\""},
        Change{"/post_processor", "{\"type\": \"TemplateProcessing\", \"single\": []}",
               "post_processor.single: expected"},
        Change{"/decoder", "{\"type\": \"CTC\"}", "decoder: decoder \"CTC\" is not supported"},
        Change{"/decoder/decoders/3/start", "-1", "decoder.decoders[3].start: expected a whole number from 0"}));

TEST(Refusal, OfAnUnknownTokenThatIsMissingComesWithTheTextThatNeedsIt) {
  Json json = fixture();
  json["model"]["unk_token"] = "nope";
  json["model"]["byte_fallback"] = false;
  EXPECT_EQ(refusal(json.dump()), "accepted");
  const Tokenizer tokenizer = Tokenizer::from_text(json.dump(), "FILE");
  EXPECT_THROW(tokenizer.encode("\u4E00"), UsageError);
  EXPECT_THROW(tokenizer.encode_batch(std::vector<std::string>(9, "\u4E00"), 3), UsageError);
}

TEST(Refusal, OfWhatIsNoJson) {
  EXPECT_NE(refusal("{\"model\": ").find("FILE: is not valid JSON"), std::string::npos);
  EXPECT_NE(refusal(std::string(100000, '[')).find("FILE: is nested too deeply"), std::string::npos);
  EXPECT_THROW(Tokenizer::from_file("/no/such/tokenizer.json"), UsageError);
  EXPECT_THROW(Tokenizer::from_file(std::filesystem::temp_directory_path().string()), UsageError);
}

TEST(Refusal, OfPatternsThatTwoLanguagesReadDifferently) {
  for (const char* pattern :
       {"a{2}+", "a{,3}", "\\h", "\\bx", "\\W[\\W]", "[a[bc]]", "[a&&b]", "(?m:.)", "x(?i)y", "(?<n>a)", "[]a]", "[ab",
        "\\p", "\\pL", "(*FAIL)", "\\x{zz}", "\\uD8", "[\\P{L}]", "\\"}) {
    EXPECT_THROW(to_pcre2_syntax(pattern), Error) << pattern;
  }
}

TEST(SpecialTokens, AreReadFromTheConfigBesideTheTokenizer) {
  const auto folder = std::filesystem::path(testing::TempDir()) / str("braid-tokenizer-", getpid());
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "tokenizer.json") << fixture().dump();
  const Tokenizer tokenizer = Tokenizer::from_file((folder / "tokenizer.json").string());
  EXPECT_EQ(end_of_text(tokenizer), 2);
  std::ofstream(folder / "tokenizer_config.json")
      << R"({"bos_token": "<s>", "eos_token": {"content": "<unk>", "lstrip": false}, "pad_token": null})";
  const SpecialTokenIds ids = read_special_token_ids(tokenizer);
  EXPECT_EQ(ids.bos, 1);
  EXPECT_EQ(ids.eos, 0);
  EXPECT_FALSE(ids.pad || ids.unk);
  EXPECT_EQ(end_of_text(tokenizer), 0);
  std::ofstream(folder / "tokenizer_config.json") << R"({"eos_token": "nope"})";
  EXPECT_THROW(read_special_token_ids(tokenizer), UsageError);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace braid
