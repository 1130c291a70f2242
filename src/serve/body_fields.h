// SPDX-License-Identifier: Apache-2.0
// The JSON object of a request, read field by field; what is wrong is a Refusal that names the field.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace braid {

// The object in a body. Refusal: no JSON, nested more than 64 deep, no object.
nlohmann::json parse_body(const std::string& body);

class BodyFields {
 public:
  // `object` must outlive this; `prefix` comes before names of fields in messages ("stream_options.").
  explicit BodyFields(const nlohmann::json& object, std::string prefix = "")
      : object_(object), prefix_(std::move(prefix)) {}

  // Refusal: a field that is in neither list, with the nearest that is; null counts as not given.
  void require_known(const std::vector<std::string>& known, const std::vector<std::string>& ignored) const;

  const nlohmann::json* find(const std::string& name) const;  // null where it is not given
  std::optional<std::string> text(const std::string& name) const;
  std::optional<bool> flag(const std::string& name) const;
  std::optional<int64_t> whole(const std::string& name, int64_t least, int64_t most) const;
  std::optional<uint64_t> seed(const std::string& name) const;  // negative ones count from 2^64 down
  std::optional<double> number(const std::string& name) const;
  // A string, or a list of at most `most`.
  std::vector<std::string> texts(const std::string& name, size_t most) const;
  [[noreturn]] void refuse(const std::string& name, const std::string& expected) const;

 private:
  const nlohmann::json& object_;
  std::string prefix_;
};

// Token ids; Refusal names `field`.
std::vector<int64_t> token_ids(const nlohmann::json& list, const std::string& field, int64_t vocabulary);

}  // namespace braid
