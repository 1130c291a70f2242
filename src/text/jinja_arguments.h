// SPDX-License-Identifier: Apache-2.0
// The arguments of a call, a filter or a test.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace braid::jinja {

struct Arguments {
  Items positional;
  std::vector<std::pair<std::string, Value>> named;
};

// What each parameter was given, in the order of `parameters`; Fault for too many, unknown and doubled arguments.
std::vector<std::optional<Value>> bind(const Arguments& arguments, std::initializer_list<const char*> parameters);

// One bound argument as what it must be; Fault otherwise. Without it, or with None, the other value.
int64_t integer_or(const std::optional<Value>& argument, int64_t otherwise);
bool truth_or(const std::optional<Value>& argument, bool otherwise);
const std::string* text_or_null(const std::optional<Value>& argument);
// Fault when it was not given.
const Value& required(const std::optional<Value>& argument);
const std::string& required_text(const std::optional<Value>& argument);

}  // namespace braid::jinja
