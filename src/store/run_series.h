// SPDX-License-Identifier: Apache-2.0
// The growing datasets of a run file, tables and matrices alike, as rows of packed bytes: what a producer thread needs
// to turn a Row into bytes without calling HDF5.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "store/run_file.h"

namespace braid {

using Bytes = std::vector<std::byte>;

enum class SeriesKind { table, steps, matrix };  // compound rows; the int64 scale of the matrices; float64 rows

struct Series {
  SeriesKind kind = SeriesKind::table;
  std::string name;
  std::vector<Column> columns;  // empty but for a table
  std::vector<size_t> offsets;  // of each column in the packed row
  int64_t width = 0;            // of a matrix, in float64
  std::string unit, meaning;    // but of a table, whose columns have theirs
  std::string axis;             // of a matrix: the name of its second dimension's scale
  size_t row_bytes = 0;
  Bytes blank;                  // a row where every column is NaN, 0 or ""

  bool is_matrix() const { return kind == SeriesKind::matrix; }
  int find(const std::string& column) const;  // -1: none
  int64_t step_offset() const;                // of the step in a packed row, -1: it has none
};

// Error for names used twice, texts without a width and axes of two lengths. The scale of steps, where there are layer
// metrics, comes before them and after the tables.
std::vector<Series> make_series(const RunFileSpec& spec);
size_t column_bytes(const Column& column);

// The packed row. Error when a name is unknown or a value does not fit its column; long texts are cut.
Bytes pack_row(const Series& series, const Row& row);
Bytes pack_row(const Series& series, const std::vector<double>& row);
Bytes pack_step(int64_t step);

// The one row of /status, and back. `heartbeat`: seconds since 1970.
const Series& status_series();
Bytes pack_status(const RunStatus& status, double heartbeat);
RunSummary unpack_status(const Bytes& row);

}  // namespace braid
