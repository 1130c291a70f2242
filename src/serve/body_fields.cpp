// SPDX-License-Identifier: Apache-2.0
#include "serve/body_fields.h"

#include <algorithm>

#include "base/config.h"
#include "base/error.h"
#include "serve/refusal.h"

namespace braid {

namespace {

using nlohmann::json;

constexpr int deepest = 64;

std::string kind_of(const json& value) {
  return value.is_number_float() ? "a number with a point" : str("a value of type ", value.type_name());
}

}  // namespace

json parse_body(const std::string& body) {
  const auto check_depth = [](int depth, json::parse_event_t, json&) {
    if (depth > deepest) throw Refusal(400, str("the body is nested more than ", deepest, " deep"), "", "invalid_json");
    return true;
  };
  json value;
  try {
    value = json::parse(body, check_depth);
  } catch (const json::exception& problem) {
    throw Refusal(400, str("the body is not valid JSON: ", problem.what()), "", "invalid_json");
  }
  if (!value.is_object()) throw Refusal(400, "the body: expected a JSON object", "", "invalid_json");
  return value;
}

void BodyFields::require_known(const std::vector<std::string>& known, const std::vector<std::string>& ignored) const {
  const auto in = [](const std::vector<std::string>& list, const std::string& name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  for (const auto& [name, value] : object_.items()) {
    if (value.is_null() || in(known, name) || in(ignored, name)) continue;
    const std::string nearest = nearest_name(name, known);
    throw Refusal(400, str("unknown field ", prefix_, name, nearest.empty() ? "" : "; nearest: " + nearest),
                  prefix_ + name, "unknown_parameter");
  }
}

const json* BodyFields::find(const std::string& name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void BodyFields::refuse(const std::string& name, const std::string& expected) const {
  const json* value = find(name);
  std::string found = value ? kind_of(*value) : "nothing";
  if (value && value->is_number()) found = value->dump();
  throw Refusal(400, str(prefix_, name, ": expected ", expected, ", found ", found), prefix_ + name, "invalid_value");
}

std::optional<std::string> BodyFields::text(const std::string& name) const {
  const json* value = find(name);
  if (!value) return std::nullopt;
  if (!value->is_string()) refuse(name, "a string");
  return value->get<std::string>();
}

std::optional<bool> BodyFields::flag(const std::string& name) const {
  const json* value = find(name);
  if (!value) return std::nullopt;
  if (!value->is_boolean()) refuse(name, "true or false");
  return value->get<bool>();
}

std::optional<int64_t> BodyFields::whole(const std::string& name, int64_t least, int64_t most) const {
  const json* value = find(name);
  if (!value) return std::nullopt;
  const bool whole = value->is_number_integer() &&
                     (!value->is_number_unsigned() || value->get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
  if (!whole || value->get<int64_t>() < least || value->get<int64_t>() > most) {
    refuse(name,
           most == INT64_MAX ? str("a whole number from ", least) : str("a whole number from ", least, " to ", most));
  }
  return value->get<int64_t>();
}

std::optional<uint64_t> BodyFields::seed(const std::string& name) const {
  const json* value = find(name);
  if (!value) return std::nullopt;
  if (!value->is_number_integer()) refuse(name, "a whole number");
  return value->is_number_unsigned() ? value->get<uint64_t>() : static_cast<uint64_t>(value->get<int64_t>());
}

std::optional<double> BodyFields::number(const std::string& name) const {
  const json* value = find(name);
  if (!value) return std::nullopt;
  if (!value->is_number()) refuse(name, "a number");
  return value->get<double>();
}

std::vector<std::string> BodyFields::texts(const std::string& name, size_t most) const {
  const json* value = find(name);
  if (!value) return {};
  if (value->is_string()) return {value->get<std::string>()};
  const auto is_text = [](const json& one) { return one.is_string(); };
  if (!value->is_array() || value->size() > most || !std::all_of(value->begin(), value->end(), is_text)) {
    refuse(name, str("a string, or a list of at most ", most, " of them"));
  }
  return value->get<std::vector<std::string>>();
}

std::vector<int64_t> token_ids(const json& list, const std::string& field, int64_t vocabulary) {
  const auto good = [&](const json& id) {
    return id.is_number_unsigned() && id.get<uint64_t>() < static_cast<uint64_t>(vocabulary);
  };
  if (!list.is_array() || !std::all_of(list.begin(), list.end(), good)) {
    throw Refusal(400, str(field, ": expected token ids from 0 to ", vocabulary - 1), field, "invalid_value");
  }
  return list.get<std::vector<int64_t>>();
}

}  // namespace braid
