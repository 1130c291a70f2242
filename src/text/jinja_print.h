// SPDX-License-Identifier: Apache-2.0
// Values as text: as Python's str() and repr() write them, and as JSON.
#pragma once

#include <string>

#include "text/jinja_value.h"

namespace braid::jinja {

// str(value). Fault for what has no text of its own: functions, iterators, namespaces.
std::string to_text(const Value& value);
std::string repr(const Value& value);
std::string repr(double value);  // the shortest digits that give the same number again

// json.dumps with the options that transformers gives templates. indent: null on one line, a number of blanks or a text
// otherwise. Fault for values that JSON does not have.
struct JsonStyle {
  bool ascii = false, sorted = false;
  const std::string* indent = nullptr;
  std::string between_items = ", ", after_key = ": ";
};
std::string to_json(const Value& value, const JsonStyle& style);

}  // namespace braid::jinja
