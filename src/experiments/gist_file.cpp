// SPDX-License-Identifier: Apache-2.0
// What write_gist_file of gist_evaluate.h writes.
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "experiments/gist_evaluate.h"
#include "store/h5_table.h"

namespace braid {

namespace {

// "48213 END", other tokens by number.
std::string text_of(const std::vector<int64_t>& tokens) {
  std::string text;
  for (const int64_t id : tokens) {
    if (id >= 0 && id < 10) {
      text += static_cast<char>('0' + id);
    } else {
      text += id == 11 ? " END" : str(" <", id, ">");
    }
  }
  return text;
}

double depth_of(const GistLine& line) { return line.depth.value_or(std::numeric_limits<double>::quiet_NaN()); }

Row score_row(const GistLine& line) {
  const Interval interval = line.interval();
  const auto of = static_cast<int64_t>(line.answers.size());
  return {{"system", line.system},
          {"length", line.length},
          {"depth", depth_of(line)},
          {"right", line.right()},
          {"of", of},
          {"share", double(line.right()) / double(of)},
          {"low", interval.low},
          {"high", interval.high},
          {"digits", line.digits()},
          {"read_tokens", line.read_tokens},
          {"read_bytes", line.read_bytes},
          {"seconds", line.seconds}};
}

TableSpec score_table() {
  return {"scores",
          {{"system", ColumnType::text, "", "what the answer is read from", 16},
           {"length", ColumnType::int64, "tokens", "context"},
           {"depth", ColumnType::float64, "1", "where the needle begins, of what is possible; NaN: anywhere"},
           {"right", ColumnType::int64, "1", "answers that equal the key and end there"},
           {"of", ColumnType::int64, "1", "answers"},
           {"share", ColumnType::float64, "1", "right / of"},
           {"low", ColumnType::float64, "1", "lower end of Wilson's 95 % interval"},
           {"high", ColumnType::float64, "1", "upper end"},
           {"digits", ColumnType::float64, "1", "share of right digits"},
           {"read_tokens", ColumnType::int64, "tokens", "positions that the answer sees before the question"},
           {"read_bytes", ColumnType::int64, "bytes", "their keys and values"},
           {"seconds", ColumnType::float64, "s", "rank 0's share, from raw tokens to answers"}}};
}

TableSpec answer_table() {
  return {"answers",
          {{"system", ColumnType::text, "", "what the answer is read from", 16},
           {"length", ColumnType::int64, "tokens", "context"},
           {"depth", ColumnType::float64, "1", "as in scores"},
           {"sample", ColumnType::int64, "1", "index in the held-out stream"},
           {"expected", ColumnType::text, "", "the key, and its end", 16},
           {"answer", ColumnType::text, "", "six tokens, the likeliest each time", 48},
           {"right", ColumnType::uint8, "1", "both are equal"}}};
}

std::vector<Row> answer_rows(const std::vector<GistLine>& lines) {
  std::vector<Row> rows;
  for (const GistLine& line : lines) {
    for (size_t i = 0; i < line.answers.size(); ++i) {
      rows.push_back({{"system", line.system},
                      {"length", line.length},
                      {"depth", depth_of(line)},
                      {"sample", line.first_sample + static_cast<int64_t>(i)},
                      {"expected", text_of(line.expected[i])},
                      {"answer", text_of(line.answers[i])},
                      {"right", int64_t{line.answers[i] == line.expected[i]}}});
    }
  }
  return rows;
}

// NaN has no form in JSON and becomes null.
nlohmann::ordered_json json_of(const std::vector<Row>& rows) {
  auto list = nlohmann::ordered_json::array();
  for (const Row& row : rows) {
    nlohmann::ordered_json one;
    for (const auto& [name, cell] : row) std::visit([&, key = name](const auto& value) { one[key] = value; }, cell);
    list.push_back(std::move(one));
  }
  return list;
}

void write_json(const std::string& path, const std::vector<Row>& scores, const std::vector<Row>& answers,
                const RunAttributes& attributes) {
  nlohmann::ordered_json all;
  for (const auto& [name, value] : attributes) std::visit([&, key = name](const auto& v) { all[key] = v; }, value);
  all["scores"] = json_of(scores);
  all["answers"] = json_of(answers);
  std::ofstream out(path);
  out << all.dump(1) << "\n";
  if (!out.flush()) throw Error(str(path, ": cannot be written"));
}

}  // namespace

void write_gist_file(const std::string& path, const std::vector<GistLine>& lines, const RunAttributes& attributes) {
  std::vector<Row> scores;
  for (const GistLine& line : lines) scores.push_back(score_row(line));
  const std::vector<Row> answers = answer_rows(lines);
  write_json(std::filesystem::path(path).replace_extension(".json").string(), scores, answers, attributes);
  const auto lock = h5::library_lock();
  h5::File file = h5::File::create(path, h5::Exists::replace);
  h5::set_attribute(file, "format", std::string("braid-gist"));
  h5::set_attribute(file, "format_version", int64_t{1});
  h5::set_attribute(file, "created_utc", utc_now_iso8601());
  for (const auto& [name, value] : attributes) {
    std::visit([&, key = name](const auto& v) { h5::set_attribute(file, key, v); }, value);
  }
  write_table(file, score_table(), scores);
  write_table(file, answer_table(), answers);
  file.close();
}

}  // namespace braid
