// SPDX-License-Identifier: Apache-2.0
// A value of a JSON file together with where it stands, so that each refusal is one line that names file, field and
// what was expected. Every check throws UsageError.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace braid {

using Json = nlohmann::json;

class JsonField {
 public:
  // `file` names the file in messages; `json` outlives the field.
  JsonField(const Json& json, std::string file) : json_(&json), file_(std::move(file)) {}

  const Json& json() const { return *json_; }
  const std::string& file() const { return file_; }

  std::optional<JsonField> find(const char* name) const;  // nothing where it is missing or null
  JsonField at(const char* name) const;                   // refuses where it is missing or null
  std::vector<JsonField> list() const;

  const std::string& text() const;
  bool flag() const;
  int64_t whole_number(int64_t least, int64_t most) const;
  std::string type() const { return at("type").text(); }  // of a component

  // Of a member that may be missing or null.
  bool flag_or(const char* name, bool otherwise) const;
  std::string text_or(const char* name, const std::string& otherwise) const;

  // "FILE: FIELD: WHY"
  [[noreturn]] void refuse(const std::string& why) const;

 private:
  JsonField inner(const Json& json, const std::string& step) const;
  const Json* json_;
  std::string file_, path_;
};

// The text of a file as JSON. UsageError when it cannot be read or is none.
Json read_json_file(const std::string& path);
Json parse_json(std::string_view text, const std::string& file);

// In quotes, on one line, ASCII only: for messages.
std::string in_quotes(std::string_view text);

}  // namespace braid
