// SPDX-License-Identifier: Apache-2.0
// A JSON object of a file that others wrote, read field by field. Whatever is wrong with it is a UsageError
// "FILE: field: expected …, found …".
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace braid {

// The object that a file holds, at most 64 MiB of text. UsageError: no such file, not JSON, another value than an
// object.
nlohmann::json read_json_object(const std::string& path);
// The same from text; `where` is what messages begin with.
nlohmann::json parse_json_object(const std::string& text, const std::string& where);
// The text of a file; UsageError when it is missing, cannot be read or is longer than 64 MiB.
std::string read_text_file(const std::string& path);

class JsonFields {
 public:
  // `object` must outlive this; `prefix` comes before names of fields in messages ("rope_scaling.").
  JsonFields(const nlohmann::json& object, std::string where, std::string prefix = "");

  bool has(const std::string& name) const;                                    // there, and not null
  int64_t whole(const std::string& name, int64_t least, int64_t most) const;  // must be there
  int64_t whole(const std::string& name, int64_t least, int64_t most, int64_t otherwise) const;
  double number(const std::string& name, double least, double otherwise) const;  // finite
  bool flag(const std::string& name, bool otherwise) const;
  std::string text(const std::string& name, const std::string& otherwise) const;
  // A list of whole numbers from 0, or one of them by itself; empty where there is none.
  std::vector<int64_t> ids(const std::string& name) const;
  JsonFields object(const std::string& name) const;  // must be there
  [[noreturn]] void refuse(const std::string& name, const std::string& expected) const;

 private:
  const nlohmann::json& object_;
  std::string where_, prefix_;
};

}  // namespace braid
