// SPDX-License-Identifier: Apache-2.0
// Jinja's filters and tests by name. Filters that escape HTML or wrap lines are not among them: chat templates do not.
#pragma once

#include <map>
#include <string>

#include "text/jinja_arguments.h"
#include "text/jinja_value.h"

namespace braid::jinja {

// subject | name(arguments). Fault for a name that is not known.
Value apply_filter(const std::string& name, const Value& subject, const Arguments& arguments);
// subject is name(arguments).
bool apply_test(const std::string& name, const Value& subject, const Arguments& arguments);

using Filter = Value (*)(const Value& subject, const Arguments& arguments);
using Filters = std::map<std::string, Filter, std::less<>>;
const Filters& scalar_filters();    // of texts, numbers and single values
const Filters& sequence_filters();  // of what can be iterated

}  // namespace braid::jinja
