// SPDX-License-Identifier: Apache-2.0
#include "models/json_fields.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "store/posix_file.h"

namespace braid {

using nlohmann::json;

namespace {

constexpr int64_t longest_text = int64_t{64} << 20;
constexpr int deepest = 32;

bool is_id(const json& value) { return value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t{INT64_MAX}; }

std::string shown(const json& value) {
  const std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 60) + "…";
}

}  // namespace

std::string read_text_file(const std::string& path) {
  std::error_code problem;
  if (!std::filesystem::is_regular_file(path, problem)) throw UsageError(str(path, ": no such file"));
  try {
    const PosixFile file = PosixFile::open_to_read(path);
    const int64_t bytes = file.size();
    if (bytes > longest_text) throw UsageError(str(path, ": expected at most ", longest_text, " bytes, found ", bytes));
    std::string text(static_cast<size_t>(bytes), ' ');
    file.read(text.data(), text.size(), 0);
    return text;
  } catch (const Error& failed) {
    throw UsageError(failed.what());
  }
}

json parse_json_object(const std::string& text, const std::string& where) {
  const auto check = [&](int depth, json::parse_event_t, json&) {
    if (depth > deepest) throw UsageError(str(where, ": expected at most ", deepest, " levels of JSON"));
    return true;
  };
  json value;
  try {
    value = json::parse(text, check);
  } catch (const json::exception&) {
    throw UsageError(str(where, ": expected a JSON object, found text that is not valid JSON"));
  }
  if (!value.is_object()) throw UsageError(str(where, ": expected a JSON object, found ", shown(value)));
  return value;
}

json read_json_object(const std::string& path) { return parse_json_object(read_text_file(path), path); }

JsonFields::JsonFields(const json& object, std::string where, std::string prefix)
    : object_(object), where_(std::move(where)), prefix_(std::move(prefix)) {}

bool JsonFields::has(const std::string& name) const {
  const auto found = object_.find(name);
  return found != object_.end() && !found->is_null();
}

void JsonFields::refuse(const std::string& name, const std::string& expected) const {
  const auto found = object_.find(name);
  throw UsageError(str(where_, ": ", prefix_, name, ": expected ", expected, ", found ",
                       found == object_.end() ? "nothing" : shown(*found)));
}

int64_t JsonFields::whole(const std::string& name, int64_t least, int64_t most) const {
  const std::string expected = str("a whole number from ", least, " to ", most);
  if (!has(name) || !is_id(object_[name])) refuse(name, expected);
  const int64_t value = object_[name].get<int64_t>();
  if (value < least || value > most) refuse(name, expected);
  return value;
}

int64_t JsonFields::whole(const std::string& name, int64_t least, int64_t most, int64_t otherwise) const {
  return has(name) ? whole(name, least, most) : otherwise;
}

double JsonFields::number(const std::string& name, double least, double otherwise) const {
  if (!has(name)) return otherwise;
  const double value = object_[name].is_number() ? object_[name].get<double>() : NAN;
  if (!std::isfinite(value) || value < least) refuse(name, str("a number from ", least));
  return value;
}

bool JsonFields::flag(const std::string& name, bool otherwise) const {
  if (!has(name)) return otherwise;
  if (!object_[name].is_boolean()) refuse(name, "true or false");
  return object_[name].get<bool>();
}

std::string JsonFields::text(const std::string& name, const std::string& otherwise) const {
  if (!has(name)) return otherwise;
  if (!object_[name].is_string()) refuse(name, "a text");
  return object_[name].get<std::string>();
}

std::vector<int64_t> JsonFields::ids(const std::string& name) const {
  if (!has(name)) return {};
  const json& value = object_[name];
  if (is_id(value)) return {value.get<int64_t>()};
  const bool good = value.is_array() && std::all_of(value.begin(), value.end(), is_id);
  if (!good) refuse(name, "a token id or a list of them");
  return value.get<std::vector<int64_t>>();
}

JsonFields JsonFields::object(const std::string& name) const {
  if (!has(name) || !object_[name].is_object()) refuse(name, "an object");
  return JsonFields(object_[name], where_, prefix_ + name + ".");
}

}  // namespace braid
