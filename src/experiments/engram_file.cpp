// SPDX-License-Identifier: Apache-2.0
#include "experiments/engram_file.h"

#include <algorithm>

#include "base/clock.h"
#include "store/h5_table.h"

namespace braid {

std::vector<bool> judged(const EngramTest& test, const std::vector<EngramAnswer>& answers, bool strict) {
  std::vector<bool> right;
  for (size_t i = 0; i < answers.size(); ++i) {
    right.push_back(strict ? strict_match(answers[i].text, test.expected(i)) : prefix_match(answers[i].text, test.expected(i)));
  }
  return right;
}

namespace {

void add_scores(std::vector<EngramScoreLine>& lines, const EngramTest& test, const char* model,
                const std::vector<EngramAnswer>& answers) {
  if (answers.empty()) return;
  for (const bool strict : {false, true}) {
    const std::vector<bool> right = judged(test, answers, strict);
    const char* match = strict ? "strict" : "prefix";
    lines.push_back({model, "all", match, share_of(right)});
    for (const Seen kind : {Seen::verbatim, Seen::variant, Seen::unseen}) {
      lines.push_back({model, name_of(kind), match, share_of(right, test.of_kind(kind))});
    }
  }
}

int widest(const std::vector<Row>& rows, size_t column) {
  size_t width = 1;
  for (const Row& row : rows) width = std::max(width, std::get<std::string>(row[column].second).size());
  return static_cast<int>(width);
}

Column text_column(const std::string& name, const std::string& meaning, const std::vector<Row>& rows, size_t place) {
  return {name, ColumnType::text, "", meaning, widest(rows, place)};
}

// The columns of one model's answers, from `place` on.
void add_answer_columns(std::vector<Column>& columns, const std::string& model, const std::vector<Row>& rows) {
  columns.push_back(text_column(model + "_answer", "what the model wrote, special tokens left out", rows, columns.size()));
  columns.push_back({model + "_prefix", ColumnType::uint8, "1", "the answer begins with what is expected"});
  columns.push_back({model + "_strict", ColumnType::uint8, "1", "the answer is what is expected"});
  columns.push_back({model + "_tokens", ColumnType::int64, "tokens", "new tokens, the end token among them"});
  columns.push_back({model + "_prefill_ms", ColumnType::float64, "ms", "up to the first new token"});
  columns.push_back({model + "_decode_ms", ColumnType::float64, "ms", "from there to the last"});
}

void add_answer(Row& row, const std::string& model, const EngramAnswer& answer, const std::string& expected) {
  row.emplace_back(model + "_answer", answer.text);
  row.emplace_back(model + "_prefix", int64_t{prefix_match(answer.text, expected)});
  row.emplace_back(model + "_strict", int64_t{strict_match(answer.text, expected)});
  row.emplace_back(model + "_tokens", answer.tokens);
  row.emplace_back(model + "_prefill_ms", answer.prefill_ms);
  row.emplace_back(model + "_decode_ms", answer.decode_ms);
}

void write_examples(h5::File& file, const EngramResult& result) {
  const EngramTest& test = result.test;
  std::vector<Row> rows;
  for (size_t i = 0; i < test.items.size(); ++i) {
    Row row = {{"prompt", test.prompt(i)}, {"expected", test.expected(i)}, {"category", test.items[i].category},
               {"seen", std::string(name_of(test.seen[i]))}};
    add_answer(row, "base", result.base[i], test.expected(i));
    if (!result.tuned.empty()) add_answer(row, "tuned", result.tuned[i], test.expected(i));
    rows.push_back(std::move(row));
  }
  std::vector<Column> columns = {
      text_column("prompt", "what was asked", rows, 0), text_column("expected", "what was to be answered", rows, 1),
      text_column("category", "", rows, 2),
      text_column("seen", "what the prompt was to train.jsonl: verbatim, variant or unseen", rows, 3)};
  add_answer_columns(columns, "base", rows);
  if (!result.tuned.empty()) add_answer_columns(columns, "tuned", rows);
  write_table(file, {"examples", columns}, rows);
}

void write_scores(h5::File& file, const EngramResult& result) {
  std::vector<Row> rows;
  for (const EngramScoreLine& line : score_lines(result)) {
    const Interval interval = line.share.interval();
    rows.push_back({{"model", line.model}, {"items", line.items}, {"match", line.match}, {"right", line.share.right},
                    {"of", line.share.of}, {"share", line.share.value()}, {"low", interval.low}, {"high", interval.high}});
  }
  const std::vector<Column> columns = {
      text_column("model", "base, or tuned: with the adapter on", rows, 0),
      text_column("items", "all, or those of one kind of /examples' column seen", rows, 1),
      text_column("match", "prefix or strict", rows, 2), {"right", ColumnType::int64, "items", "answered rightly"},
      {"of", ColumnType::int64, "items", "asked"}, {"share", ColumnType::float64, "1", "right / of"},
      {"low", ColumnType::float64, "1", "lower end of Wilson's 95 % interval"},
      {"high", ColumnType::float64, "1", "its upper end"}};
  write_table(file, {"scores", columns}, rows);
}

void write_categories(h5::File& file, const EngramResult& result) {
  std::vector<Row> rows;
  for (const std::string& category : result.test.categories()) {
    const std::vector<bool> chosen = result.test.of_category(category);
    const Share base = share_of(judged(result.test, result.base, false), chosen);
    Row row = {{"category", category}, {"of", base.of}, {"base_right", base.right}};
    if (!result.tuned.empty()) {
      row.emplace_back("tuned_right", share_of(judged(result.test, result.tuned, false), chosen).right);
    }
    rows.push_back(std::move(row));
  }
  std::vector<Column> columns = {text_column("category", "", rows, 0), {"of", ColumnType::int64, "items", "asked"},
                                 {"base_right", ColumnType::int64, "items", "right by the prefix match"}};
  if (!result.tuned.empty()) columns.push_back({"tuned_right", ColumnType::int64, "items", "the same with the adapter on"});
  write_table(file, {"categories", columns}, rows);
}

void add_latencies(std::vector<Row>& rows, const std::string& model, const std::vector<EngramAnswer>& answers) {
  const auto add = [&](const char* phase, auto of) {
    std::vector<double> ms;
    for (const EngramAnswer& answer : answers) ms.push_back(of(answer));
    const Latency l = latency_of(ms);
    rows.push_back({{"model", model}, {"phase", std::string(phase)}, {"mean", l.mean}, {"median", l.median}, {"p95", l.p95}});
  };
  if (answers.empty()) return;
  add("prefill", [](const EngramAnswer& a) { return a.prefill_ms; });
  add("decode", [](const EngramAnswer& a) { return a.decode_ms; });
  add("whole", [](const EngramAnswer& a) { return a.prefill_ms + a.decode_ms; });
}

void write_latencies(h5::File& file, const EngramResult& result) {
  std::vector<Row> rows;
  add_latencies(rows, "base", result.base);
  add_latencies(rows, "tuned", result.tuned);
  const std::vector<Column> columns = {
      text_column("model", "base or tuned", rows, 0),
      text_column("phase", "prefill, up to the first new token; decode, from there on; whole, both", rows, 1),
      {"mean", ColumnType::float64, "ms", "of the answers"}, {"median", ColumnType::float64, "ms", "of the answers"},
      {"p95", ColumnType::float64, "ms", "their 95th percentile"}};
  write_table(file, {"latency", columns}, rows);
}

}  // namespace

std::vector<EngramScoreLine> score_lines(const EngramResult& result) {
  std::vector<EngramScoreLine> lines;
  add_scores(lines, result.test, "base", result.base);
  add_scores(lines, result.test, "tuned", result.tuned);
  return lines;
}

void write_engram_file(const std::string& path, const EngramResult& result, const RunAttributes& attributes) {
  const auto lock = h5::library_lock();
  h5::File file = h5::File::create(path, h5::Exists::replace);
  h5::set_attribute(file, "format", std::string("braid-engram"));
  h5::set_attribute(file, "format_version", engram_file_version);
  h5::set_attribute(file, "created_utc", utc_now_iso8601());
  for (const auto& [name, value] : attributes) {
    std::visit([&, name = name](const auto& v) { h5::set_attribute(file, name, v); }, value);
  }
  write_examples(file, result);
  write_scores(file, result);
  write_categories(file, result);
  write_latencies(file, result);
  file.close();
}

}  // namespace braid
