// SPDX-License-Identifier: Apache-2.0
// The HDF5 side of a run file, used by one thread. Nothing is retried here: after an exception the file is distrusted
// and only abandon() or the destructor may follow.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "store/h5.h"
#include "store/run_series.h"

namespace braid {

inline constexpr int64_t run_format_version = 1;

// What of an old file goes into a new one.
struct RowsToCopy {
  int64_t first_step_to_drop = std::numeric_limits<int64_t>::max();  // for tables with a column "step"
  std::vector<int64_t> rows;  // of each series that are known to be good; empty: all there are
};

class RunWriter {
 public:
  // Creates all objects, then starts SWMR: 1.10.8 silently accepts new objects later, and readers then fail.
  RunWriter(const std::string& path, const std::vector<Series>& series, const RunAttributes& attributes,
            const std::string& created_utc);
  ~RunWriter() { abandon(); }
  RunWriter(const RunWriter&) = delete;
  RunWriter& operator=(const RunWriter&) = delete;

  // Packed rows to the end of series `index`; `bytes` is a whole number of rows.
  void append(size_t index, const std::byte* rows, size_t bytes);
  void copy_from(const std::string& old_path, const RowsToCopy& what);
  void flush();                         // rows first, so that a reader never counts a row that is not there
  void write_status(const Bytes& row);  // in place, with a flush
  void sync();                          // fdatasync
  void publish(const std::string& path);  // renames the file
  void close();                         // ends SWMR
  // Lets go of the file so that HDF5 cannot change it any more. False when HDF5 would not close it: this process must
  // then not open it again, because HDF5 would answer from what it still holds.
  bool abandon() noexcept;
  int64_t rows(size_t index) const { return rows_[index]; }

 private:
  int64_t copy_series(const h5::File& old, size_t index, int64_t rows, int64_t first_step_to_drop);

  std::string path_;
  const std::vector<Series>& series_;
  h5::File file_;
  std::vector<h5::Dataset> datasets_;
  std::vector<h5::H5Id> types_;  // of a packed row (table) or of an element (matrix)
  std::vector<int64_t> rows_;
  std::vector<bool> dirty_;
  h5::Dataset status_;
  h5::H5Id status_type_;
  bool open_ = false;
};

// The compound type of a table's packed row.
h5::H5Id row_type(const Series& series);
// Opens a run file for reading. Error when it is none, or written by a newer version.
h5::File open_run_file(const std::string& path);

}  // namespace braid
