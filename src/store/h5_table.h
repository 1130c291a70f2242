// SPDX-License-Identifier: Apache-2.0
// Small compound tables written at once and read whole, for files that do not grow (a checkpoint's manifest).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "store/h5.h"
#include "store/run_file.h"

namespace braid {

// A dataset of compound rows with units and meanings as attributes, like the tables of a run file.
void write_table(h5::File& file, const TableSpec& spec, const std::vector<Row>& rows);

// Rows as they were written; numbers of any width are int64 or double, texts keep the width of the file.
struct Table {
  std::string label;  // "FILE: /name", for messages
  std::vector<std::map<std::string, Cell>> rows;
};
Table read_table(const h5::File& file, const std::string& name);

// The cell of a row. Error when the column is not there or of another type.
int64_t int_cell(const Table& table, size_t row, const std::string& column);
const std::string& text_cell(const Table& table, size_t row, const std::string& column);

}  // namespace braid
