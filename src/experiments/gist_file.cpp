// SPDX-License-Identifier: Apache-2.0
// What write_gist_file of gist_report.h writes.
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "experiments/gist_report.h"
#include "store/h5_table.h"

namespace braid {

namespace {

double depth_of(std::optional<double> depth) { return depth.value_or(std::numeric_limits<double>::quiet_NaN()); }

// What names a row of scores and of answers.
Row line_row(const GistLine& line) {
  return {{"suite", line.suite},
          {"system", line.result.system},
          {"step", line.step},
          {"length", line.length},
          {"depth", depth_of(line.depth)}};
}

std::vector<Column> line_columns() {
  return {{"suite", ColumnType::text, "", "what was asked: the passkey task's form, or a file", 64},
          {"system", ColumnType::text, "", "what the answer is read from", 16},
          {"step", ColumnType::int64, "1", "of the checkpoint"},
          {"length", ColumnType::int64, "tokens", "context; of a file the mean"},
          {"depth", ColumnType::float64, "1", "where the first statement begins, of what is possible; NaN: anywhere"}};
}

Row score_row(const GistLine& line) {
  const SystemResult& result = line.result;
  const AnswerTally tally = result.tally();
  const Interval strict = tally.strict_interval(), wrong = tally.interval(AnswerKind::hallucination);
  const auto mean = [&](double sum) { return tally.answers > 0 ? sum / double(tally.answers) : 0.0; };
  Row row = line_row(line);
  const Row more = {{"right", tally.strict},
                    {"of", tally.answers},
                    {"share", mean(double(tally.strict))},
                    {"low", strict.low},
                    {"high", strict.high},
                    {"contains", mean(double(tally.contains))},
                    {"recall", mean(tally.recall)},
                    {"characters", mean(tally.characters)},
                    {"hallucination", tally.share(AnswerKind::hallucination)},
                    {"hallucination_low", wrong.low},
                    {"hallucination_high", wrong.high},
                    {"stored_tokens", result.stored_positions},
                    {"stored_bytes", result.stored_bytes},
                    {"read_tokens", result.read_positions},
                    {"read_bytes", result.read_bytes},
                    {"ratio", line.ratio()},
                    {"compress_seconds", result.compress_seconds},
                    {"answer_seconds", result.answer_seconds}};
  row.insert(row.end(), more.begin(), more.end());
  for (size_t kind = 0; kind < answer_kinds; ++kind)
    row.emplace_back(str("kind_", name_of(static_cast<AnswerKind>(kind))), tally.kinds[kind]);
  return row;
}

TableSpec score_table() {
  TableSpec table{"scores", line_columns()};
  const std::vector<Column> more = {
      {"right", ColumnType::int64, "1", "strict answers: what was asked for, and then the end"},
      {"of", ColumnType::int64, "1", "answers"},
      {"share", ColumnType::float64, "1", "right / of"},
      {"low", ColumnType::float64, "1", "lower end of Wilson's 95 % interval"},
      {"high", ColumnType::float64, "1", "upper end"},
      {"contains", ColumnType::float64, "1", "share of answers in which all that was asked for stands somewhere"},
      {"recall", ColumnType::float64, "1", "share of what was asked for that stands somewhere, the mean"},
      {"characters", ColumnType::float64, "1", "share of right characters, place by place"},
      {"hallucination", ColumnType::float64, "1", "share of answers with a well-formed key that occurs nowhere"},
      {"hallucination_low", ColumnType::float64, "1", "lower end of Wilson's 95 % interval"},
      {"hallucination_high", ColumnType::float64, "1", "upper end"},
      {"stored_tokens", ColumnType::float64, "tokens", "positions that are kept of a context, the mean"},
      {"stored_bytes", ColumnType::float64, "bytes", "what they take"},
      {"read_tokens", ColumnType::float64, "tokens", "positions that an answer sees before its question, the mean"},
      {"read_bytes", ColumnType::float64, "bytes", "their keys and values"},
      {"ratio", ColumnType::float64, "1", "length / read_tokens; 0 where nothing is read"},
      {"compress_seconds", ColumnType::float64, "s", "for a context, of those that are compressed together"},
      {"answer_seconds", ColumnType::float64, "s", "for a question, of those that are answered together"}};
  table.columns.insert(table.columns.end(), more.begin(), more.end());
  for (size_t kind = 0; kind < answer_kinds; ++kind) {
    const std::string name = name_of(static_cast<AnswerKind>(kind));
    table.columns.push_back({"kind_" + name, ColumnType::int64, "1", "answers of kind " + name});
  }
  return table;
}

TableSpec answer_table() {
  TableSpec table{"answers", line_columns()};
  const std::vector<Column> more = {
      {"sample", ColumnType::int64, "1", "index among the questions"},
      {"tokens", ColumnType::int64, "tokens", "of this context"},
      {"at", ColumnType::float64, "1", "this statement's depth; NaN: unknown"},
      {"expected", ColumnType::text, "", "what was asked for", 128},
      {"answer", ColumnType::text, "", "what was decoded, the likeliest token each time", 256},
      {"ids", ColumnType::text, "", "its token ids", 512},
      {"kind", ColumnType::text, "", "right, late, other_key, distractor, hallucination, partial, empty, malformed", 16},
      {"right", ColumnType::uint8, "1", "strict"},
      {"contains", ColumnType::uint8, "1", "what was asked for stands somewhere"},
      {"characters", ColumnType::float64, "1", "share of right characters"}};
  table.columns.insert(table.columns.end(), more.begin(), more.end());
  return table;
}

std::string ids_text(const std::vector<int64_t>& ids) {
  std::string text;
  for (const int64_t id : ids) text += str(text.empty() ? "" : " ", id);
  return text;
}

std::vector<Row> answer_rows(const std::vector<GistLine>& lines) {
  std::vector<Row> rows;
  for (const GistLine& line : lines) {
    for (const GistAnswer& answer : line.result.answers) {
      Row row = line_row(line);
      const JudgedAnswer& judged = answer.judged;
      const Row more = {{"sample", answer.index},
                        {"tokens", answer.context_tokens},
                        {"at", depth_of(answer.depth)},
                        {"expected", judged.expected},
                        {"answer", judged.answer},
                        {"ids", ids_text(answer.tokens)},
                        {"kind", std::string(name_of(judged.kind))},
                        {"right", int64_t{judged.score.strict}},
                        {"contains", int64_t{judged.score.contains}},
                        {"characters", judged.score.characters}};
      row.insert(row.end(), more.begin(), more.end());
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

TableSpec target_table() {
  return {"targets",
          {{"target", ColumnType::text, "", "of the public experiment", 32},
           {"goal", ColumnType::text, "", "what it asks for", 128},
           {"measured", ColumnType::text, "", "what was found", 384},
           {"verdict", ColumnType::text, "", "PASS, FAIL, NOT REACHABLE or NOT MEASURED", 16}}};
}

TableSpec probe_table() {
  return {"probe",
          {{"system", ColumnType::text, "", "gist or full", 16},
           {"batch", ColumnType::int64, "1", "questions answered together, each with its context"},
           {"length", ColumnType::int64, "tokens", "context"},
           {"compress_seconds", ColumnType::float64, "s", "for all of them"},
           {"answer_seconds", ColumnType::float64, "s", "for all of them"},
           {"resident_bytes", ColumnType::int64, "bytes", "held before"},
           {"peak_bytes", ColumnType::int64, "bytes", "at most, while compressing and answering"}}};
}

struct GistTables {
  std::vector<Row> scores, answers, targets, probe;
};

GistTables tables_of(const GistReport& report) {
  GistTables tables;
  std::vector<GistLine> all = report.lines;
  all.insert(all.end(), report.global.begin(), report.global.end());
  for (const GistLine& line : all) tables.scores.push_back(score_row(line));
  tables.answers = answer_rows(all);
  for (const GistTarget& target : report.targets) {
    tables.targets.push_back({{"target", target.name},
                              {"goal", target.goal},
                              {"measured", target.measured},
                              {"verdict", std::string(name_of(target.verdict))}});
  }
  for (const ProbeLine& line : report.probe) {
    tables.probe.push_back({{"system", line.system},
                            {"batch", line.batch},
                            {"length", line.context_tokens},
                            {"compress_seconds", line.compress_seconds},
                            {"answer_seconds", line.answer_seconds},
                            {"resident_bytes", line.resident_bytes},
                            {"peak_bytes", line.peak_bytes}});
  }
  return tables;
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

void write_json(const std::string& path, const GistTables& tables, const RunAttributes& attributes) {
  nlohmann::ordered_json all;
  for (const auto& [name, value] : attributes) std::visit([&, key = name](const auto& v) { all[key] = v; }, value);
  all["scores"] = json_of(tables.scores);
  all["answers"] = json_of(tables.answers);
  all["targets"] = json_of(tables.targets);
  all["probe"] = json_of(tables.probe);
  std::ofstream out(path);
  out << all.dump(1) << "\n";
  if (!out.flush()) throw Error(str(path, ": cannot be written"));
}

RunAttributes with_break_even(RunAttributes attributes, const GistReport& report) {
  if (!report.even) return attributes;
  attributes.emplace_back("break_even_formula", str(report.even->formula));
  attributes.emplace_back("break_even_measured", str(report.even->measured));
  return attributes;
}

}  // namespace

void write_gist_file(const std::string& path, const GistReport& report, const RunAttributes& given) {
  const RunAttributes attributes = with_break_even(given, report);
  const GistTables tables = tables_of(report);
  write_json(std::filesystem::path(path).replace_extension(".json").string(), tables, attributes);
  const auto lock = h5::library_lock();
  h5::File file = h5::File::create(path, h5::Exists::replace);
  h5::set_attribute(file, "format", std::string("braid-gist"));
  h5::set_attribute(file, "format_version", int64_t{2});
  h5::set_attribute(file, "created_utc", utc_now_iso8601());
  for (const auto& [name, value] : attributes) {
    std::visit([&, key = name](const auto& v) { h5::set_attribute(file, key, v); }, value);
  }
  write_table(file, score_table(), tables.scores);
  write_table(file, answer_table(), tables.answers);
  write_table(file, target_table(), tables.targets);
  write_table(file, probe_table(), tables.probe);
  file.close();
}

}  // namespace braid
