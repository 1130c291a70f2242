// SPDX-License-Identifier: Apache-2.0
// What operators, brackets and dots do to values. Fault where Python raises, and for integers beyond 64 bits.
#pragma once

#include <string>

#include "text/jinja_value.h"

namespace braid::jinja {

Value arithmetic(const std::string& symbol, const Value& a, const Value& b);  // + - * / // % **
Value signed_number(const std::string& sign, const Value& value);
// == != < <= > >= in, not in.
bool compare(const std::string& symbol, const Value& a, const Value& b);
bool contains(const Value& container, const Value& item);

// subject[place]: an item, else a method of that name, else undefined. Fault when the subject is undefined.
Value item_of(const Value& subject, const Value& place);
// subject[begin:end:step]; bounds that are undefined without a hint are left out. Fault where Python raises.
Value slice_of(const Value& subject, const Value& begin, const Value& end, const Value& step);
// subject.name: a method or attribute, else an item, else undefined. Fault when the subject is undefined.
Value attribute_of(const Value& subject, const std::string& name);

}  // namespace braid::jinja
