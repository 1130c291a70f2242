// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_arguments.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"

namespace braid::jinja {

std::vector<std::optional<Value>> bind(const Arguments& arguments, std::initializer_list<const char*> parameters) {
  std::vector<std::optional<Value>> bound(parameters.size());
  if (arguments.positional.size() > parameters.size()) {
    throw Fault(str("expected at most ", parameters.size(), " arguments, found ", arguments.positional.size()));
  }
  std::copy(arguments.positional.begin(), arguments.positional.end(), bound.begin());
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find_if(parameters.begin(), parameters.end(),
                                    [&](const char* parameter) { return name == std::string_view(parameter); });
    if (found == parameters.end()) throw Fault(str("an argument ", name, " is not known here"));
    std::optional<Value>& place = bound[static_cast<size_t>(found - parameters.begin())];
    if (place) throw Fault(str("the argument ", name, " is given twice"));
    place = value;
  }
  return bound;
}

int64_t integer_or(const std::optional<Value>& argument, int64_t otherwise) {
  if (!argument || argument->is_none()) return otherwise;
  const auto integer = argument->as_integer();
  if (!integer) throw Fault(str("expected an integer argument, found a ", type_name(*argument)));
  return *integer;
}

bool truth_or(const std::optional<Value>& argument, bool otherwise) { return argument ? truthy(*argument) : otherwise; }

const std::string* text_or_null(const std::optional<Value>& argument) {
  if (!argument || argument->is_none()) return nullptr;
  return &required_text(argument);
}

const Value& required(const std::optional<Value>& argument) {
  if (!argument) throw Fault("an argument is missing");
  return *argument;
}

const std::string& required_text(const std::optional<Value>& argument) {
  const std::string* text = required(argument).as_text();
  if (!text) throw Fault(str("expected a text as argument, found a ", type_name(*argument)));
  return *text;
}

}  // namespace braid::jinja
