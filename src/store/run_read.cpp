// SPDX-License-Identifier: Apache-2.0
// Reading what a run left, or is leaving: read-only, with SWMR, without locks.
#include "base/error.h"
#include "store/run_writer.h"

namespace braid {

RunSummary read_run_summary(const std::string& path) {
  const h5::File file = open_run_file(path);
  Bytes row = status_series().blank;
  h5::Dataset::open(file, "status").read(row_type(status_series()), row.data());
  RunSummary summary = unpack_status(row);
  if (h5::has_attribute(file, "config")) summary.config = h5::text_attribute(file, "config");
  if (h5::has_attribute(file, "run_id")) summary.run_id = h5::text_attribute(file, "run_id");
  if (h5::has_attribute(file, "resumed_from")) summary.resumed_from = h5::text_attribute(file, "resumed_from");
  // Files of before /sessions was kept have seen one start.
  summary.sessions = h5::exists(file, "sessions") ? h5::Dataset::open(file, "sessions").shape().at(0) : 1;
  return summary;
}

std::vector<double> read_run_column(const std::string& path, const std::string& table, const std::string& column) {
  const h5::File file = open_run_file(path);
  if (!h5::exists(file, table)) throw Error(str(path, ": no table ", table));
  const h5::Dataset dataset = h5::Dataset::open(file, table);
  const h5::H5Id stored = dataset.type();
  const int member = H5Tget_class(stored) == H5T_COMPOUND ? H5Tget_member_index(stored, column.c_str()) : -1;
  if (member < 0) throw Error(str(dataset.label(), " has no column ", column));
  if (H5Tget_member_class(stored, static_cast<unsigned>(member)) == H5T_STRING) {
    throw Error(str(dataset.label(), ": column ", column, " holds text, not numbers"));
  }
  const h5::H5Id number = h5::own(H5Tcreate(H5T_COMPOUND, sizeof(double)), H5Tclose, path);
  h5::check(H5Tinsert(number, column.c_str(), 0, H5T_NATIVE_DOUBLE), path);
  const int64_t rows = dataset.shape().at(0);
  std::vector<double> values(static_cast<size_t>(rows));
  dataset.read_rows(number, 0, rows, values.data());
  return values;
}

}  // namespace braid
