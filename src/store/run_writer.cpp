// SPDX-License-Identifier: Apache-2.0
// Creating, growing, copying and letting go of a run file.
#include "store/run_writer.h"

#include <hdf5_hl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "base/clock.h"
#include "base/error.h"
#include "store/posix_file.h"

namespace braid {
namespace {

using h5::check;
using h5::Dataset;
using h5::H5Id;
using h5::own;

constexpr hsize_t table_chunk_rows = 256;
constexpr size_t matrix_chunk_bytes = size_t{1} << 18;  // well inside HDF5's chunk cache of 1 MiB
constexpr int64_t copy_rows = 4096;

H5Id column_type(const Column& column) {
  switch (column.type) {
    case ColumnType::int64: return own(H5Tcopy(H5T_NATIVE_INT64), H5Tclose, column.name);
    case ColumnType::float64: return own(H5Tcopy(H5T_NATIVE_DOUBLE), H5Tclose, column.name);
    case ColumnType::uint8: return own(H5Tcopy(H5T_NATIVE_UINT8), H5Tclose, column.name);
    case ColumnType::text: return h5::text_type(static_cast<size_t>(column.width));
  }
  throw Error(column.name + ": unknown column type");
}

H5Id creation_of(const Series& series, const std::string& label) {
  H5Id creation = own(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, label);
  const hsize_t matrix_rows = std::clamp<size_t>(matrix_chunk_bytes / series.row_bytes, 1, table_chunk_rows);
  const hsize_t chunk[] = {series.is_matrix() ? matrix_rows : table_chunk_rows, static_cast<hsize_t>(series.width)};
  check(H5Pset_chunk(creation, series.is_matrix() ? 2 : 1, chunk), label);
  return creation;
}

// Links through groups that are made on the way.
H5Id linking(const std::string& label) {
  H5Id links = own(H5Pcreate(H5P_LINK_CREATE), H5Pclose, label);
  check(H5Pset_create_intermediate_group(links, 1), label);
  return links;
}

Dataset create_series(const h5::File& file, const Series& series, hid_t type) {
  const std::string label = file.path() + ": /" + series.name;
  const hsize_t width = static_cast<hsize_t>(series.width);
  const hsize_t now[] = {0, width}, most[] = {H5S_UNLIMITED, width};
  const H5Id space = own(H5Screate_simple(series.is_matrix() ? 2 : 1, now, most), H5Sclose, label);
  const H5Id creation = creation_of(series, label), links = linking(label);
  const hid_t dataset = H5Dcreate2(file, series.name.c_str(), type, space, links, creation, H5P_DEFAULT);
  return Dataset(own(dataset, H5Dclose, label), label);
}

// The scale of a metric's layers: 0, 1, 2, …
Dataset create_axis(const h5::File& file, const Series& series) {
  const std::string label = file.path() + ": /" + series.axis;
  const hsize_t length = static_cast<hsize_t>(series.width);
  const H5Id space = own(H5Screate_simple(1, &length, nullptr), H5Sclose, label), links = linking(label);
  Dataset axis(own(H5Dcreate2(file, series.axis.c_str(), H5T_NATIVE_INT64, space, links, H5P_DEFAULT, H5P_DEFAULT),
                   H5Dclose, label), label);
  std::vector<int64_t> places(static_cast<size_t>(series.width));
  std::iota(places.begin(), places.end(), 0);
  axis.write(H5T_NATIVE_INT64, places.data());
  h5::set_attribute(axis, "meaning", std::string("counts along depth, from 0"));
  check(H5DSset_scale(axis, series.axis.substr(series.axis.rfind('/') + 1).c_str()), label);
  return axis;
}

// Dimension scales of the layer metrics. Before SWMR begins: they are attributes.
void attach_scales(const h5::File& file, const std::vector<Series>& series, const std::vector<Dataset>& datasets) {
  const Dataset* steps = nullptr;
  for (size_t i = 0; i < series.size(); ++i) {
    if (series[i].kind == SeriesKind::steps) {
      steps = &datasets[i];
      check(H5DSset_scale(*steps, "step"), steps->label());
    }
    if (!series[i].is_matrix()) continue;
    const Dataset axis = h5::exists(file, series[i].axis) ? Dataset::open(file, series[i].axis)
                                                          : create_axis(file, series[i]);
    check(H5DSattach_scale(datasets[i], *steps, 0), datasets[i].label());
    check(H5DSattach_scale(datasets[i], axis, 1), datasets[i].label());
  }
}

// Of one element or packed row.
H5Id type_of(const Series& series) {
  switch (series.kind) {
    case SeriesKind::steps: return own(H5Tcopy(H5T_NATIVE_INT64), H5Tclose, series.name);
    case SeriesKind::matrix: return own(H5Tcopy(H5T_NATIVE_DOUBLE), H5Tclose, series.name);
    default: return row_type(series);
  }
}

// Contiguous and there from the start: overwriting it changes no metadata, so readers can never see half a change.
Dataset create_status(const h5::File& file, hid_t type) {
  const std::string label = file.path() + ": /status";
  const hsize_t one = 1;
  const H5Id space = own(H5Screate_simple(1, &one, nullptr), H5Sclose, label);
  const H5Id creation = own(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, label);
  check(H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY), label);
  return Dataset(own(H5Dcreate2(file, "status", type, space, H5P_DEFAULT, creation, H5P_DEFAULT), H5Dclose, label),
                 label);
}

void describe(const Dataset& dataset, const Series& series) {
  for (const Column& column : series.columns) {
    h5::set_attribute(dataset, "unit:" + column.name, column.unit);
    h5::set_attribute(dataset, "meaning:" + column.name, column.meaning);
  }
  if (series.kind == SeriesKind::table) return;
  h5::set_attribute(dataset, "unit", series.unit);
  h5::set_attribute(dataset, "meaning", series.meaning);
}

// Moves the rows whose step is below `limit` to the front; their number.
int64_t keep_steps_below(int64_t limit, size_t offset, size_t row_bytes, Bytes& rows) {
  int64_t kept = 0;
  for (size_t at = 0; at < rows.size(); at += row_bytes) {
    int64_t step;
    std::memcpy(&step, &rows[at + offset], sizeof step);
    if (step < limit) std::memmove(&rows[static_cast<size_t>(kept++) * row_bytes], &rows[at], row_bytes);
  }
  return kept;
}

}  // namespace

H5Id row_type(const Series& series) {
  H5Id type = own(H5Tcreate(H5T_COMPOUND, series.row_bytes), H5Tclose, series.name);
  for (size_t i = 0; i < series.columns.size(); ++i) {
    check(H5Tinsert(type, series.columns[i].name.c_str(), series.offsets[i], column_type(series.columns[i])),
          series.name);
  }
  return type;
}

RunWriter::RunWriter(const std::string& path, const std::vector<Series>& series, const RunAttributes& attributes,
                     const std::string& created_utc)
    : path_(path), series_(series), rows_(series.size(), 0), dirty_(series.size(), false) {
  file_ = h5::File::create(path, h5::Exists::replace, h5::Layout::swmr);
  open_ = true;
  try {
    h5::set_attribute(file_, "format", std::string("braid-run"));
    h5::set_attribute(file_, "format_version", run_format_version);
    h5::set_attribute(file_, "created_utc", created_utc);
    for (const auto& [name, value] : attributes) {
      std::visit([&, &key = name](const auto& content) { h5::set_attribute(file_, key, content); }, value);
    }
    for (const Series& one : series) {
      types_.push_back(type_of(one));
      datasets_.push_back(create_series(file_, one, types_.back()));
      describe(datasets_.back(), one);
    }
    attach_scales(file_, series_, datasets_);
    status_type_ = row_type(status_series());
    status_ = create_status(file_, status_type_);
    describe(status_, status_series());
    file_.start_swmr_write();
  } catch (...) {
    abandon();
    throw;
  }
}

void RunWriter::append(size_t index, const std::byte* rows, size_t bytes) {
  const auto count = static_cast<int64_t>(bytes / series_[index].row_bytes);
  if (count == 0) return;
  datasets_[index].extend(rows_[index] + count);
  datasets_[index].write_rows(types_[index], rows_[index], count, rows);
  rows_[index] += count;
  dirty_[index] = true;
}

void RunWriter::flush() {
  for (size_t i = 0; i < datasets_.size(); ++i) {
    if (dirty_[i]) datasets_[i].flush();
    dirty_[i] = false;
  }
}

void RunWriter::write_status(const Bytes& row) {
  status_.write(status_type_, row.data());
  status_.flush();
}

void RunWriter::sync() {
  if (fdatasync(file_.descriptor()) != 0) throw Error(path_ + ": fdatasync: " + std::strerror(errno));
}

void RunWriter::publish(const std::string& path) {
  if (std::rename(path_.c_str(), path.c_str()) != 0) throw Error(path + ": rename: " + std::strerror(errno));
  path_ = path;
  sync_folder(std::filesystem::path(path).parent_path().string());
}

void RunWriter::close() {
  file_.flush();  // where it fails, abandon() can still follow
  file_.close();
  open_ = false;
}

bool RunWriter::abandon() noexcept {
  if (!open_) return true;
  open_ = false;
  const bool closed = file_.abandon();
  for (Dataset& dataset : datasets_) dataset.release();
  status_.release();
  return closed;
}

void RunWriter::copy_from(const std::string& old_path, const RowsToCopy& what) {
  const h5::File old = open_run_file(old_path);
  int64_t step_rows = 0;  // of the layer metrics
  for (size_t i = 0; i < series_.size(); ++i) {
    const bool present = h5::exists(old, series_[i].name);
    if (!present && what.rows.empty()) continue;
    const int64_t there = Dataset::open(old, series_[i].name).shape().at(0);
    int64_t rows = what.rows.empty() ? there : what.rows[i];
    if (rows > there) throw Error(str(old_path, ": /", series_[i].name, " has ", there, " rows instead of ", rows));
    if (series_[i].is_matrix() && what.rows.empty()) rows = std::min(rows, step_rows);
    const int64_t kept = copy_series(old, i, rows, what.first_step_to_drop);
    if (series_[i].kind == SeriesKind::steps) step_rows = kept;  // they come before the metrics
  }
}

int64_t RunWriter::copy_series(const h5::File& old, size_t index, int64_t rows, int64_t first_step_to_drop) {
  const Series& series = series_[index];
  const Dataset source = Dataset::open(old, series.name);
  if (series.is_matrix() && source.shape() != std::vector<int64_t>{source.shape().at(0), series.width}) {
    throw Error(str(source.label(), ": its rows are not ", series.width, " values wide"));
  }
  const int64_t step = series.step_offset();
  for (int64_t first = 0; first < rows; first += copy_rows) {
    int64_t count = std::min(copy_rows, rows - first);
    Bytes block;
    for (int64_t i = 0; i < count; ++i) block.insert(block.end(), series.blank.begin(), series.blank.end());
    source.read_rows(types_[index], first, count, block.data());  // a column the old file lacks stays blank
    if (step >= 0) count = keep_steps_below(first_step_to_drop, static_cast<size_t>(step), series.row_bytes, block);
    append(index, block.data(), static_cast<size_t>(count) * series.row_bytes);
  }
  return rows_[index];
}

h5::File open_run_file(const std::string& path) {
  h5::File file = h5::File::open(path);
  if (!h5::has_attribute(file, "format") || h5::text_attribute(file, "format") != "braid-run") {
    throw Error(path + ": not a run file of Braid (attribute format is not braid-run)");
  }
  const int64_t version = h5::int_attribute(file, "format_version");
  if (version > run_format_version) {
    throw Error(str(path, ": format_version ", version, " is newer than this program's ", run_format_version));
  }
  return file;
}

}  // namespace braid
