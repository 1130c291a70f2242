// SPDX-License-Identifier: Apache-2.0
#include "data/needle_files.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/json_field.h"
#include "text/utf8.h"

namespace braid {

namespace {

using OrderedJson = nlohmann::ordered_json;

double rounded(double share) { return std::round(share * 1e6) / 1e6; }

OrderedJson needle_json(const Needle& needle) {
  return {{"key", needle.key},
          {"value", needle.value},
          {"char_start", needle.char_start},
          {"char_end", needle.char_end},
          {"tok_start", needle.tok_start},
          {"tok_end", needle.tok_end},
          {"depth", rounded(needle.depth)}};
}

int64_t points_in(std::string_view text) {
  int64_t points = 0;
  for (size_t at = 0; at < text.size(); ++points) at += code_point_bytes(static_cast<unsigned char>(text[at]));
  return points;
}

double number(const JsonField& field, double least, double most) {
  const Json& json = field.json();
  if (!json.is_number() || json.get<double>() < least || json.get<double>() > most)
    field.refuse(str("expected a number from ", least, " to ", most));
  return json.get<double>();
}

const std::string& nonempty(const JsonField& field) {
  if (field.text().empty()) field.refuse("expected a text that is not empty");
  return field.text();
}

std::string one_of(const JsonField& field, const std::vector<std::string>& known) {
  std::string all;
  for (const std::string& name : known) {
    if (field.text() == name) return name;
    all += (all.empty() ? "" : ", ") + name;
  }
  field.refuse("expected one of " + all);
}

Needle read_needle(const JsonField& field, const NeedleSample& sample, int64_t points) {
  Needle needle{field.at("key").text(), nonempty(field.at("value"))};
  needle.char_start = field.at("char_start").whole_number(0, points);
  needle.char_end = field.at("char_end").whole_number(needle.char_start, points);
  needle.tok_start = field.at("tok_start").whole_number(0, sample.context_tokens);
  needle.tok_end = field.at("tok_end").whole_number(needle.tok_start, sample.context_tokens);
  needle.depth = number(field.at("depth"), 0, 1);
  if (statement_of(sample, needle).find(needle.value) == std::string_view::npos) {
    field.refuse(str("'", on_one_line(needle.value), "' is not in characters ", needle.char_start, " to ",
                     needle.char_end, " of the context"));
  }
  return needle;
}

NeedleSample own_sample(const JsonField& line) {
  NeedleSample sample;
  sample.id = nonempty(line.at("id"));
  sample.split = one_of(line.at("split"), {"train", "test"});
  sample.language = nonempty(line.at("lang"));
  sample.task = one_of(line.at("task"), {"single", "multikey", "multivalue", "multiquery", "vt"});
  sample.seed = static_cast<uint64_t>(line.at("seed").whole_number(0, INT64_MAX));
  sample.context_tokens = line.at("context_tokens").whole_number(1, INT64_MAX);
  sample.context = nonempty(line.at("context"));
  const int64_t points = points_in(sample.context);
  for (const JsonField& needle : line.at("needles").list())
    sample.needles.push_back(read_needle(needle, sample, points));
  if (sample.needles.empty()) line.at("needles").refuse("expected one or more");
  sample.instruction = line.text_or("instruction", "");
  sample.question = nonempty(line.at("question"));
  for (const JsonField& answer : line.at("answers").list()) sample.answers.push_back(nonempty(answer));
  if (sample.answers.empty()) line.at("answers").refuse("expected one or more");
  sample.filler_id = line.at("filler_id").text();
  sample.distractor_rate = number(line.at("distractor_rate"), 0, 1);
  sample.tokenizer = line.text_or("tokenizer", "");
  return sample;
}

NeedleSample public_sample(const JsonField& line) {
  NeedleSample sample;
  sample.context = nonempty(line.at("context"));
  sample.question = nonempty(line.at("question"));
  const JsonField key = line.find("needle") ? line.at("needle") : line.at("answer");
  Needle needle{"", nonempty(key)};
  sample.answers = {line.find("answer") ? nonempty(line.at("answer")) : needle.value};
  if (const auto position = line.find("needle_position")) number(*position, 0, 1);
  if (const auto length = line.find("context_length_chars")) length->whole_number(0, INT64_MAX);
  const size_t byte = sample.context.find(needle.value);
  if (byte == std::string::npos) key.refuse(str("'", on_one_line(needle.value), "' is not in the context"));
  needle.char_start = points_in(std::string_view(sample.context).substr(0, byte));
  needle.char_end = needle.char_start + points_in(needle.value);
  const int64_t places = points_in(sample.context) - (needle.char_end - needle.char_start);
  needle.depth = places > 0 ? double(needle.char_start) / double(places) : 0;
  sample.needles = {needle};
  sample.language = line.text_or("language", "english") == "korean" ? "ko" : "en";
  sample.task = "single";
  sample.instruction = line.text_or("instruction", "");
  return sample;
}

NeedleSample read_line(const std::string& text, const std::string& where) {
  if (!is_valid_utf8(text)) throw UsageError(where + ": expected UTF-8");
  const Json json = parse_json(text, where);
  const JsonField line(json, where);
  if (!json.is_object()) line.refuse("expected an object");
  return json.contains("needles") ? own_sample(line) : public_sample(line);
}

std::ifstream opened(const std::string& path) {
  if (std::filesystem::is_directory(path)) throw UsageError(path + ": is a folder; expected a file of JSON lines");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw UsageError(str(path, ": cannot be read: ", std::strerror(errno)));
  return file;
}

}  // namespace

std::string json_line(const NeedleSample& sample) {
  OrderedJson needles = OrderedJson::array();
  for (const Needle& needle : sample.needles) needles.push_back(needle_json(needle));
  const OrderedJson line = {{"id", sample.id},
                            {"split", sample.split},
                            {"lang", sample.language},
                            {"task", sample.task},
                            {"seed", sample.seed},
                            {"context_tokens", sample.context_tokens},
                            {"context", sample.context},
                            {"needles", needles},
                            {"instruction", sample.instruction},
                            {"question", sample.question},
                            {"answers", sample.answers},
                            {"filler_id", sample.filler_id},
                            {"distractor_rate", sample.distractor_rate},
                            {"tokenizer", sample.tokenizer}};
  return line.dump();
}

std::vector<NeedleSample> read_needles(const std::string& path) {
  std::ifstream file = opened(path);
  std::vector<NeedleSample> samples;
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = str(path, ":", number);
    if (file.eof()) throw UsageError(where + ": the line has no end; the file may have been cut off");
    samples.push_back(read_line(line, where));
    samples.back().line = number;
  }
  if (samples.empty()) throw UsageError(path + ": expected a line for each sample, found none");
  return samples;
}

}  // namespace braid
