// SPDX-License-Identifier: Apache-2.0
// Attributes: one int64, float64 or fixed-length UTF-8 text each; and lists of numbers in a group.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "store/h5.h"

namespace braid::h5 {
namespace {

std::string attribute_label(hid_t object, const std::string& name) {
  std::string path(4096, '\0');
  const ssize_t length = H5Fget_name(object, path.data(), path.size());
  path.resize(length > 0 ? std::min<size_t>(static_cast<size_t>(length), path.size() - 1) : 0);
  return path + ": attribute " + name;
}

void create_and_write(hid_t object, const std::string& name, hid_t type, const void* value) {
  const std::string label = attribute_label(object, name);
  const H5Id space = own(H5Screate(H5S_SCALAR), H5Sclose, label);
  const H5Id attribute = own(H5Acreate2(object, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, label);
  check(H5Awrite(attribute, type, value), label);
}

H5Id open_attribute(hid_t object, const std::string& name) {
  const std::string label = attribute_label(object, name);
  H5Id attribute = own(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, label);
  const H5Id space = own(H5Aget_space(attribute), H5Sclose, label);
  if (H5Sget_simple_extent_npoints(space) != 1) throw Error(label + ": a single value was expected");
  return attribute;
}

template <class Number>
Number number_attribute(hid_t object, const std::string& name, hid_t memory_type, H5T_class_t expected) {
  const H5Id attribute = open_attribute(object, name);
  const std::string label = attribute_label(object, name);
  const H5Id type = own(H5Aget_type(attribute), H5Tclose, label);
  const H5T_class_t found = H5Tget_class(type);
  if (found != expected && found != H5T_INTEGER) throw Error(label + ": a number was expected");
  Number value{};
  check(H5Aread(attribute, memory_type, &value), label);
  return value;
}

}  // namespace

bool has_attribute(hid_t object, const std::string& name) {
  return check(H5Aexists(object, name.c_str()), attribute_label(object, name)) > 0;
}

void set_attribute(hid_t object, const std::string& name, int64_t value) {
  create_and_write(object, name, H5T_STD_I64LE, &value);
}

void change_attribute(hid_t object, const std::string& name, int64_t value) {
  const H5Id attribute = open_attribute(object, name);
  check(H5Awrite(attribute, H5T_NATIVE_INT64, &value), attribute_label(object, name));
}

void set_attribute(hid_t object, const std::string& name, double value) {
  create_and_write(object, name, H5T_IEEE_F64LE, &value);
}

void set_attribute(hid_t object, const std::string& name, const std::string& value) {
  create_and_write(object, name, text_type(value.size()), value.c_str());
}

int64_t int_attribute(hid_t object, const std::string& name) {
  return number_attribute<int64_t>(object, name, H5T_NATIVE_INT64, H5T_INTEGER);
}

double double_attribute(hid_t object, const std::string& name) {
  return number_attribute<double>(object, name, H5T_NATIVE_DOUBLE, H5T_FLOAT);
}

std::string text_attribute(hid_t object, const std::string& name) {
  const H5Id attribute = open_attribute(object, name);
  const std::string label = attribute_label(object, name);
  const H5Id type = own(H5Aget_type(attribute), H5Tclose, label);
  if (H5Tget_class(type) != H5T_STRING) throw Error(label + ": a text was expected");
  if (H5Tis_variable_str(type) > 0) {
    char* owned = nullptr;  // allocated by HDF5
    check(H5Aread(attribute, type, &owned), label);
    const std::string value = owned ? owned : "";
    H5free_memory(owned);
    return value;
  }
  std::string value(H5Tget_size(type), '\0');
  check(H5Aread(attribute, type, value.data()), label);
  value.resize(strnlen(value.data(), value.size()));
  return value;
}

namespace {

herr_t add_attribute_name(hid_t, const char* name, const H5A_info_t*, void* out) {
  static_cast<std::vector<std::string>*>(out)->emplace_back(name);
  return 0;
}

herr_t add_link_name(hid_t, const char* name, const H5L_info_t*, void* out) {
  static_cast<std::vector<std::string>*>(out)->emplace_back(name);
  return 0;
}

H5T_class_t class_of_attribute(hid_t object, const std::string& name) {
  const H5Id attribute = own(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, name);
  const H5Id space = own(H5Aget_space(attribute), H5Sclose, name);
  if (H5Sget_simple_extent_npoints(space) != 1) return H5T_NO_CLASS;
  return H5Tget_class(own(H5Aget_type(attribute), H5Tclose, name));
}

template <class Number>
std::vector<Number> read_list(const Dataset& dataset, hid_t memory_type) {
  std::vector<Number> list(static_cast<size_t>(dataset.count()));
  if (!list.empty()) dataset.read(memory_type, list.data());
  return list;
}

}  // namespace

std::map<std::string, Scalar> scalar_attributes(hid_t object) {
  std::vector<std::string> names;
  check(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, nullptr, add_attribute_name, &names), "attributes");
  std::map<std::string, Scalar> values;
  for (const std::string& name : names) {
    switch (class_of_attribute(object, name)) {
      case H5T_INTEGER: values[name] = int_attribute(object, name); break;
      case H5T_FLOAT: values[name] = double_attribute(object, name); break;
      case H5T_STRING: values[name] = text_attribute(object, name); break;
      default: break;
    }
  }
  return values;
}

std::map<std::string, NumberList> lists_in(const File& file, const std::string& group) {
  const H5Id opened = own(H5Gopen2(file, group.c_str(), H5P_DEFAULT), H5Gclose, file.path() + ": /" + group);
  std::vector<std::string> names;
  check(H5Literate(opened, H5_INDEX_NAME, H5_ITER_INC, nullptr, add_link_name, &names), file.path() + ": /" + group);
  std::map<std::string, NumberList> lists;
  for (const std::string& name : names) {
    const Dataset dataset = Dataset::open(file, group + "/" + name);
    if (dataset.shape().size() != 1) continue;
    if (H5Tget_class(dataset.type()) == H5T_INTEGER) {
      lists[name] = read_list<int64_t>(dataset, H5T_NATIVE_INT64);
    } else {
      lists[name] = read_list<double>(dataset, H5T_NATIVE_DOUBLE);
    }
  }
  return lists;
}

}  // namespace braid::h5
