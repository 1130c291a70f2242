// SPDX-License-Identifier: Apache-2.0
#include "store/h5_table.h"

#include <cstring>

#include "base/error.h"
#include "store/run_writer.h"

namespace braid {

void write_table(h5::File& file, const TableSpec& spec, const std::vector<Row>& rows) {
  const std::string label = file.path() + ": /" + spec.name;
  const Series series = make_series({{}, {spec}, {}}).at(0);
  const h5::H5Id type = row_type(series);
  const hsize_t count = rows.size();
  const h5::H5Id space = h5::own(H5Screate_simple(1, &count, nullptr), H5Sclose, label);
  h5::Dataset dataset(h5::own(H5Dcreate2(file, spec.name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                              H5Dclose, label),
                      label);
  for (const Column& column : series.columns) {
    h5::set_attribute(dataset, "unit:" + column.name, column.unit);
    h5::set_attribute(dataset, "meaning:" + column.name, column.meaning);
  }
  Bytes packed;
  for (const Row& row : rows) {
    const Bytes one = pack_row(series, row);
    packed.insert(packed.end(), one.begin(), one.end());
  }
  if (count > 0) dataset.write(type, packed.data());
}

namespace {

struct Member {
  std::string name;
  H5T_class_t kind = H5T_NO_CLASS;
  size_t offset = 0, bytes = 0;  // in the packed row in memory
};

std::vector<Member> members_of(hid_t type, const std::string& label) {
  std::vector<Member> members;
  size_t offset = 0;
  const int count = static_cast<int>(h5::check(H5Tget_nmembers(type), label));
  for (int i = 0; i < count; ++i) {
    char* name = H5Tget_member_name(type, static_cast<unsigned>(i));
    const h5::H5Id stored = h5::own(H5Tget_member_type(type, static_cast<unsigned>(i)), H5Tclose, label);
    Member member{name ? name : "", H5Tget_class(stored), offset, 8};
    H5free_memory(name);
    if (member.kind == H5T_STRING) member.bytes = H5Tget_size(stored);
    offset += member.bytes;
    members.push_back(member);
  }
  return members;
}

h5::H5Id memory_type(const std::vector<Member>& members, const std::string& label) {
  const size_t bytes = members.empty() ? 1 : members.back().offset + members.back().bytes;
  h5::H5Id type = h5::own(H5Tcreate(H5T_COMPOUND, bytes), H5Tclose, label);
  for (const Member& member : members) {
    const h5::H5Id text = member.kind == H5T_STRING ? h5::text_type(member.bytes) : h5::H5Id();
    const hid_t element = member.kind == H5T_STRING ? static_cast<hid_t>(text)
                          : member.kind == H5T_FLOAT ? H5T_NATIVE_DOUBLE
                                                     : H5T_NATIVE_INT64;
    h5::check(H5Tinsert(type, member.name.c_str(), member.offset, element), label);
  }
  return type;
}

Cell cell_of(const Member& member, const char* row) {
  const char* at = row + member.offset;
  if (member.kind == H5T_STRING) return std::string(at, strnlen(at, member.bytes));
  if (member.kind == H5T_FLOAT) {
    double value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  int64_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <class T>
const T& cell(const Table& table, size_t row, const std::string& column, const char* expected) {
  const auto found = table.rows.at(row).find(column);
  const T* value = found == table.rows[row].end() ? nullptr : std::get_if<T>(&found->second);
  if (!value) throw Error(str(table.label, ": column ", column, ": expected ", expected));
  return *value;
}

}  // namespace

Table read_table(const h5::File& file, const std::string& name) {
  const h5::Dataset dataset = h5::Dataset::open(file, name);
  Table table{dataset.label(), {}};
  const h5::H5Id stored = dataset.type();
  if (H5Tget_class(stored) != H5T_COMPOUND) throw Error(table.label + ": a table was expected");
  const std::vector<Member> members = members_of(stored, table.label);
  const h5::H5Id type = memory_type(members, table.label);
  const size_t row_bytes = H5Tget_size(type);
  std::vector<char> packed(static_cast<size_t>(dataset.count()) * row_bytes);
  if (!packed.empty()) dataset.read(type, packed.data());
  for (size_t at = 0; at < packed.size(); at += row_bytes) {
    auto& row = table.rows.emplace_back();
    for (const Member& member : members) row[member.name] = cell_of(member, packed.data() + at);
  }
  return table;
}

int64_t int_cell(const Table& table, size_t row, const std::string& column) {
  return cell<int64_t>(table, row, column, "whole numbers");
}

const std::string& text_cell(const Table& table, size_t row, const std::string& column) {
  return cell<std::string>(table, row, column, "texts");
}

}  // namespace braid
