// SPDX-License-Identifier: Apache-2.0
// Packing rows into bytes, column after column without gaps.
#include "store/run_series.h"

#include <cstring>
#include <limits>
#include <map>
#include <set>

#include "base/error.h"

namespace braid {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

template <class Number>
void put(std::byte* at, Number value) {
  std::memcpy(at, &value, sizeof value);
}

template <class Number>
Number get(const std::byte* at) {
  Number value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Cuts at a character's border, so that the column stays valid UTF-8.
void put_text(std::byte* at, const std::string& text, size_t width) {
  size_t length = text.size();
  if (length > width) {
    length = width;
    while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xc0) == 0x80) --length;
  }
  std::memset(at, 0, width);
  std::memcpy(at, text.data(), length);
}

// False when the value does not fit the column.
bool put_cell(std::byte* at, const Column& column, const Cell& cell) {
  const auto* integer = std::get_if<int64_t>(&cell);
  const auto* real = std::get_if<double>(&cell);
  const auto* text = std::get_if<std::string>(&cell);
  switch (column.type) {
    case ColumnType::int64:
      if (integer) put(at, *integer);
      return integer != nullptr;
    case ColumnType::float64:
      if (real || integer) put(at, real ? *real : static_cast<double>(*integer));
      return real || integer;
    case ColumnType::uint8:
      if (!integer || *integer < 0 || *integer > 255) return false;
      put(at, static_cast<uint8_t>(*integer));
      return true;
    case ColumnType::text:
      if (text) put_text(at, *text, static_cast<size_t>(column.width));
      return text != nullptr;
  }
  return false;
}

Bytes blank_row(const Series& series) {
  Bytes row(series.row_bytes);
  for (size_t i = 0; i < series.columns.size(); ++i) {
    if (series.columns[i].type == ColumnType::float64) put(&row[series.offsets[i]], nan);
  }
  return row;
}

Series make_table(const TableSpec& table);

Series make_status_series() {
  return make_table({
      "status",
      {{"state", ColumnType::text, "1", "running, done, diverged, failed, preempted or stopped", 16},
       {"last_step", ColumnType::int64, "1", "last finished step, -1 before the first"},
       {"planned_steps", ColumnType::int64, "1", "steps the run will have when it is done"},
       {"heartbeat", ColumnType::float64, "s", "seconds since 1970 when this row was written"},
       {"exit_code", ColumnType::int64, "1", "exit code of the program, -1 while it runs"},
       {"message", ColumnType::text, "1", "why it ended so", 512}}});
}

}  // namespace

int Series::find(const std::string& column) const {
  for (size_t i = 0; i < columns.size(); ++i) {
    if (columns[i].name == column) return static_cast<int>(i);
  }
  return -1;
}

size_t column_bytes(const Column& column) {
  switch (column.type) {
    case ColumnType::int64:
    case ColumnType::float64: return 8;
    case ColumnType::uint8: return 1;
    case ColumnType::text: return static_cast<size_t>(column.width);
  }
  return 0;
}

int64_t Series::step_offset() const {
  if (kind == SeriesKind::steps) return 0;
  const int column = find("step");
  return column < 0 ? -1 : static_cast<int64_t>(offsets[static_cast<size_t>(column)]);
}

namespace {

Series make_table(const TableSpec& table) {
  if (table.columns.empty()) throw Error(str("table ", table.name, ": no columns"));
  Series series;
  series.name = table.name;
  series.columns = table.columns;
  std::set<std::string> names;
  for (const Column& column : table.columns) {
    const std::string label = str("table ", table.name, ": column ", column.name);
    if (!names.insert(column.name).second) throw Error(label + " is there twice");
    if (column_bytes(column) == 0 || column.width < 0) throw Error(label + ": a text needs a width of at least 1");
    if (column.name == "step" && column.type != ColumnType::int64) throw Error(label + ": a step is an int64");
    series.offsets.push_back(series.row_bytes);
    series.row_bytes += column_bytes(column);
  }
  series.blank = blank_row(series);
  return series;
}

Series make_steps() {
  Series series;
  series.kind = SeriesKind::steps;
  series.name = "layers/step";
  series.unit = "1";
  series.meaning = "step of each row of the datasets beside this one";
  series.row_bytes = sizeof(int64_t);
  series.blank = Bytes(series.row_bytes);
  return series;
}

Series make_matrix(const LayerMetric& metric) {
  if (metric.layers < 1) throw Error(str("layer metric ", metric.name, ": it has ", metric.layers, " layers"));
  Series series;
  series.kind = SeriesKind::matrix;
  series.name = "layers/" + metric.name;
  series.width = metric.layers;
  series.unit = metric.unit;
  series.meaning = metric.meaning;
  series.axis = "layers/" + metric.axis;
  series.row_bytes = static_cast<size_t>(metric.layers) * sizeof(double);
  series.blank = Bytes(series.row_bytes);
  return series;
}

void require_names(const std::vector<Series>& all) {
  std::set<std::string> names = {"status"};
  std::map<std::string, int64_t> axes;
  for (const Series& series : all) {
    if (!names.insert(series.name).second) throw Error(str("run file: the name ", series.name, " is taken"));
    if (!series.is_matrix()) continue;
    const int64_t length = axes.emplace(series.axis, series.width).first->second;
    if (length != series.width) {
      throw Error(str("run file: ", series.axis, " has ", length, " places and ", series.name, " ", series.width));
    }
  }
  for (const auto& [axis, length] : axes) {
    if (!names.insert(axis).second) throw Error(str("run file: the name ", axis, " is taken"));
  }
}

}  // namespace

std::vector<Series> make_series(const RunFileSpec& spec) {
  std::vector<Series> all;
  for (const TableSpec& table : spec.tables) all.push_back(make_table(table));
  if (!spec.layer_metrics.empty()) all.push_back(make_steps());
  for (const LayerMetric& metric : spec.layer_metrics) all.push_back(make_matrix(metric));
  require_names(all);
  return all;
}

Bytes pack_row(const Series& series, const Row& row) {
  if (series.kind != SeriesKind::table) throw Error(str("run file: ", series.name, " is not a table"));
  Bytes packed = series.blank;
  for (const auto& [name, cell] : row) {
    const int column = series.find(name);
    if (column < 0) throw Error(str("table ", series.name, ": no column ", name));
    if (!put_cell(&packed[series.offsets[column]], series.columns[column], cell)) {
      throw Error(str("table ", series.name, ": the value given for column ", name, " does not fit its type"));
    }
  }
  return packed;
}

Bytes pack_row(const Series& series, const std::vector<double>& row) {
  if (static_cast<int64_t>(row.size()) != series.width) {
    throw Error(str(series.name, ": a row of ", row.size(), " values where ", series.width, " are needed"));
  }
  Bytes packed(series.row_bytes);
  std::memcpy(packed.data(), row.data(), packed.size());
  return packed;
}

Bytes pack_step(int64_t step) {
  Bytes packed(sizeof step);
  put(packed.data(), step);
  return packed;
}

const Series& status_series() {
  static const Series series = make_status_series();
  return series;
}

Bytes pack_status(const RunStatus& status, double heartbeat) {
  return pack_row(status_series(), Row{{"state", status.state},
                                       {"last_step", status.last_step},
                                       {"planned_steps", status.planned_steps},
                                       {"heartbeat", heartbeat},
                                       {"exit_code", int64_t{status.exit_code}},
                                       {"message", status.message}});
}

RunSummary unpack_status(const Bytes& row) {
  const Series& series = status_series();
  const auto at = [&](const char* column) { return &row[series.offsets[series.find(column)]]; };
  const auto text = [&](const char* column) {
    const auto* start = reinterpret_cast<const char*>(at(column));
    return std::string(start, strnlen(start, column_bytes(series.columns[series.find(column)])));
  };
  RunSummary summary;
  summary.status.state = text("state");
  summary.status.last_step = get<int64_t>(at("last_step"));
  summary.status.planned_steps = get<int64_t>(at("planned_steps"));
  summary.heartbeat_unix_seconds = get<double>(at("heartbeat"));
  summary.status.exit_code = static_cast<int>(get<int64_t>(at("exit_code")));
  summary.status.message = text("message");
  return summary;
}

}  // namespace braid
