// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_template.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_parser.h"
#include "text/jinja_unicode.h"

namespace braid::jinja {

namespace {

constexpr size_t max_source = size_t{1} << 20;

Value from_json(const nlohmann::ordered_json& json, size_t depth = 0) {
  if (depth > max_nesting) throw Fault(str("a variable nested more than ", max_nesting, " deep"));
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::null: return None{};
    case nlohmann::ordered_json::value_t::boolean: return json.get<bool>();
    case nlohmann::ordered_json::value_t::number_integer: return json.get<int64_t>();
    case nlohmann::ordered_json::value_t::number_unsigned:
      if (json.get<uint64_t>() > INT64_MAX) throw Fault("a variable holds an integer beyond 64 bits");
      return json.get<int64_t>();
    case nlohmann::ordered_json::value_t::number_float: return json.get<double>();
    case nlohmann::ordered_json::value_t::string: {
      const auto& text = json.get_ref<const std::string&>();
      if (!is_valid_utf8(text)) throw Fault("a variable holds a text that is not UTF-8");
      return text;
    }
    case nlohmann::ordered_json::value_t::array: {
      Items items;
      for (const auto& item : json) items.push_back(from_json(item, depth + 1));
      return Value::list(std::move(items));
    }
    case nlohmann::ordered_json::value_t::object: {
      Entries entries;
      for (const auto& [key, value] : json.items()) entries.emplace_back(Value(key), from_json(value, depth + 1));
      return Value::dict(std::move(entries));
    }
    default: throw Fault("a variable holds binary data");
  }
}

Entries variables_of(const nlohmann::ordered_json& json) {
  Entries variables;
  for (const auto& [name, value] : json.items()) variables.emplace_back(Value(name), from_json(value));
  return variables;
}

// Messages are one line.
std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

[[noreturn]] void refuse(const std::string& name, int line, const std::string& message) {
  throw UsageError(str(name, ":", line, ": ", one_line(message)));
}

}  // namespace

Template::Template(const std::string& source, std::string name) : name_(std::move(name)) {
  try {
    if (source.size() > max_source) throw SyntaxFault{1, str("a template of more than ", max_source, " bytes")};
    block_ = parse(source);
  } catch (const SyntaxFault& fault) {
    refuse(name_, fault.line, fault.message);
  }
}

std::string Template::render(const nlohmann::ordered_json& variables) const {
  try {
    Interpreter interpreter(variables_of(variables));
    return interpreter.run(block_);
  } catch (const RunFault& fault) {
    refuse(name_, fault.line, fault.message);
  } catch (const Fault& fault) {
    throw UsageError(str(name_, ": ", one_line(fault.what())));
  }
}

}  // namespace braid::jinja
