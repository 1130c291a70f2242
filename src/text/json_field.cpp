// SPDX-License-Identifier: Apache-2.0
#include "text/json_field.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"

namespace braid {

namespace {

constexpr int deepest = 64;

}  // namespace

JsonField JsonField::inner(const Json& json, const std::string& step) const {
  JsonField field(json, file_);
  field.path_ = path_ + step;
  return field;
}

std::optional<JsonField> JsonField::find(const char* name) const {
  if (!json_->is_object()) refuse("expected an object");
  const auto found = json_->find(name);
  if (found == json_->end() || found->is_null()) return std::nullopt;
  return inner(*found, path_.empty() ? name : str(".", name));
}

JsonField JsonField::at(const char* name) const {
  const auto found = find(name);
  if (!found) refuse(str(name, " is missing"));
  return *found;
}

std::vector<JsonField> JsonField::list() const {
  if (!json_->is_array()) refuse("expected a list");
  std::vector<JsonField> fields;
  for (size_t i = 0; i < json_->size(); ++i) fields.push_back(inner((*json_)[i], str("[", i, "]")));
  return fields;
}

const std::string& JsonField::text() const {
  if (!json_->is_string()) refuse("expected a text");
  return json_->get_ref<const std::string&>();
}

bool JsonField::flag() const {
  if (!json_->is_boolean()) refuse("expected true or false");
  return json_->get<bool>();
}

int64_t JsonField::whole_number(int64_t least, int64_t most) const {
  const bool whole = json_->is_number_integer() && !(json_->is_number_unsigned() && json_->get<uint64_t>() > INT64_MAX);
  const int64_t value = whole ? json_->get<int64_t>() : 0;
  if (!whole || value < least || value > most) refuse(str("expected a whole number from ", least, " to ", most));
  return value;
}

bool JsonField::flag_or(const char* name, bool otherwise) const {
  const auto found = find(name);
  return found ? found->flag() : otherwise;
}

std::string JsonField::text_or(const char* name, const std::string& otherwise) const {
  const auto found = find(name);
  return found ? found->text() : otherwise;
}

void JsonField::refuse(const std::string& why) const {
  throw UsageError(str(file_, ": ", path_, path_.empty() ? "" : ": ", why));
}

Json parse_json(std::string_view text, const std::string& file) {
  const auto check = [](int depth, Json::parse_event_t, Json&) {
    if (depth > deepest) throw Error("is nested too deeply");
    return true;
  };
  try {
    return Json::parse(text, check);
  } catch (const Json::exception& problem) {
    throw UsageError(str(file, ": is not valid JSON: ", problem.what()));
  } catch (const Error& problem) {
    throw UsageError(str(file, ": ", problem.what()));
  }
}

Json read_json_file(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (!file || !(content << file.rdbuf())) {
    throw UsageError(str(path, ": cannot be read: ", errno ? std::strerror(errno) : "it is empty"));
  }
  return parse_json(content.view(), path);
}

std::string in_quotes(std::string_view text) {
  return Json(std::string(text)).dump(-1, ' ', true, Json::error_handler_t::replace);
}

}  // namespace braid
