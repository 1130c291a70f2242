// SPDX-License-Identifier: Apache-2.0
// Methods of Python's str, list and dict, and the attributes of `loop`.
#pragma once

#include <optional>
#include <string>

#include "text/jinja_arguments.h"
#include "text/jinja_value.h"

namespace braid::jinja {

// The method bound to its receiver; nothing when Python's type has no attribute of this name; an undefined value for
// methods that change what they are called on (Jinja's immutable sandbox); Fault for those that Braid does not know.
std::optional<Value> method_of(const Value& receiver, const std::string& name);
Value call_method(const Value& receiver, const std::string& name, const Arguments& arguments);

std::optional<Value> loop_attribute(const Loop& loop, const std::string& name);

// str.replace with `count` replacements at most, all when it is negative.
std::string replace(const std::string& text, const std::string& old, const std::string& with, int64_t count);

}  // namespace braid::jinja
