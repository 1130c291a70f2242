// SPDX-License-Identifier: Apache-2.0
#include "base/text_table.h"

#include <algorithm>

namespace braid {

namespace {

bool is_number(const std::string& cell) {
  return cell == "-" || cell == "nan" || cell == "-nan" || cell == "inf" ||
         (!cell.empty() && cell.find_first_not_of("0123456789+-.e%") == std::string::npos);
}

// Characters as a reader counts them: UTF-8 continuation bytes take no room.
size_t width_of(const std::string& cell) {
  return static_cast<size_t>(std::count_if(cell.begin(), cell.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::vector<size_t> column_widths(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  return widths;
}

// A column leans right when every cell below its heading is a number or empty.
bool leans_right(const std::vector<std::vector<std::string>>& rows, size_t column) {
  bool numbers = false;
  for (size_t r = rows.size() > 1 ? 1 : 0; r < rows.size(); ++r) {
    if (column >= rows[r].size() || rows[r][column].empty()) continue;
    if (!is_number(rows[r][column])) return false;
    numbers = true;
  }
  return numbers;
}

}  // namespace

std::string text_table(const std::vector<std::vector<std::string>>& rows) {
  const std::vector<size_t> widths = column_widths(rows);
  std::vector<bool> right;
  for (size_t c = 0; c < widths.size(); ++c) right.push_back(leans_right(rows, c));
  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    for (size_t c = 0; c < rows[r].size(); ++c) {
      const std::string gap(widths[c] - width_of(rows[r][c]), ' ');
      line += right[c] ? gap + rows[r][c] : rows[r][c] + gap;
      if (c + 1 < rows[r].size()) line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace braid
