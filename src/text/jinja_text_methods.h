// SPDX-License-Identifier: Apache-2.0
// Methods of Python's str.
#pragma once

#include <set>
#include <string>

#include "text/jinja_arguments.h"

namespace braid::jinja {

const std::set<std::string, std::less<>>& text_attribute_names();  // all that Python's str has
bool is_text_method(const std::string& name);                      // those that Braid can call
Value call_text_method(const std::string& text, const std::string& name, const Arguments& arguments);

}  // namespace braid::jinja
