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

struct Series {
  std::string name;
  std::vector<Column> columns;  // empty for a matrix
  std::vector<size_t> offsets;  // of each column in the packed row
  int64_t width = 0;            // of a matrix, in float64
  std::string unit, meaning;    // of a matrix
  size_t row_bytes = 0;
  Bytes blank;                  // a row where every column is NaN, 0 or ""

  bool is_matrix() const { return columns.empty(); }
  int find(const std::string& column) const;  // -1: none
};

Series make_series(const TableSpec& table);    // Error for names used twice and texts without a width
Series make_series(const MatrixSpec& matrix);
std::vector<Series> make_series(const RunFileSpec& spec);
size_t column_bytes(const Column& column);

// The packed row. Error when a name is unknown or a value does not fit its column; long texts are cut.
Bytes pack_row(const Series& series, const Row& row);
Bytes pack_row(const Series& series, const std::vector<double>& row);

// The one row of /status, and back. `heartbeat`: seconds since 1970.
const Series& status_series();
Bytes pack_status(const RunStatus& status, double heartbeat);
RunSummary unpack_status(const Bytes& row);

}  // namespace braid
