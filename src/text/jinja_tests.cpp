// SPDX-License-Identifier: Apache-2.0
// What may stand behind `is`.
#include "base/error.h"
#include "text/jinja_filters.h"
#include "text/jinja_operators.h"
#include "text/jinja_unicode.h"

namespace braid::jinja {

namespace {

using KindTest = bool (*)(const Value& value);
using PairTest = bool (*)(const Value& value, const Value& other);

bool is_boolean(const Value& value, bool wanted) { return value.as_boolean() && *value.as_boolean() == wanted; }

bool is_iterable(const Value& value) {
  return value.as_text() || value.as_sequence() || value.as_dict() || value.as_undefined() || value.as_loop();
}

// What has a length and can be indexed.
bool is_sequence(const Value& value) {
  const Sequence* sequence = value.as_sequence();
  if (!sequence) return value.as_text() || value.as_dict() || value.as_undefined();
  return sequence->shape == Shape::list || sequence->shape == Shape::tuple || sequence->shape == Shape::range;
}

bool remainder_is(const Value& value, const Value& divisor, int64_t wanted) {
  return equal(arithmetic("%", value, divisor), Value(wanted));
}

// Identity: only the values of which there is one each have one that can be told.
bool same_as(const Value& value, const Value& other) {
  const auto is_single = [](const Value& x) { return x.is_none() || x.as_boolean(); };
  if (!is_single(value) && !is_single(other)) throw Fault("sameas is supported only for true, false and none");
  return type_name(value) == type_name(other) && equal(value, other);
}

template <char first, char last>
bool only_case(const Value& value) {
  const std::string* text = value.as_text();
  if (!text) throw Fault(str("is lower and is upper: expected a text, found a ", type_name(value)));
  const std::string changed = change_case(*text, first == 'a' ? Case::lower : Case::upper);
  bool letters = false;
  for (const char c : *text) letters = letters || (c >= first && c <= last);
  return letters && changed == *text;
}

const std::map<std::string, KindTest, std::less<>>& kind_tests() {
  static const std::map<std::string, KindTest, std::less<>> tests = {
      {"boolean", [](const Value& v) { return v.as_boolean() != nullptr; }},
      {"callable", [](const Value& v) { return v.as_function() != nullptr; }},
      {"defined", [](const Value& v) { return v.as_undefined() == nullptr; }},
      {"even", [](const Value& v) { return remainder_is(v, Value(int64_t{2}), 0); }},
      {"false", [](const Value& v) { return is_boolean(v, false); }},
      {"float", [](const Value& v) { return v.as_real() != nullptr; }},
      {"integer", [](const Value& v) { return v.as_integer().has_value() && !v.as_boolean(); }},
      {"iterable", is_iterable},
      {"lower", only_case<'a', 'z'>},
      {"mapping", [](const Value& v) { return v.as_dict() != nullptr; }},
      {"none", [](const Value& v) { return v.is_none(); }},
      {"number", [](const Value& v) { return v.is_number(); }},
      {"odd", [](const Value& v) { return remainder_is(v, Value(int64_t{2}), 1); }},
      {"sequence", is_sequence},
      {"string", [](const Value& v) { return v.as_text() != nullptr; }},
      {"true", [](const Value& v) { return is_boolean(v, true); }},
      {"undefined", [](const Value& v) { return v.as_undefined() != nullptr; }},
      {"upper", only_case<'A', 'Z'>}};
  return tests;
}

const std::map<std::string, PairTest, std::less<>>& pair_tests() {
  static constexpr PairTest eq = [](const Value& a, const Value& b) { return compare("==", a, b); },
                            ne = [](const Value& a, const Value& b) { return compare("!=", a, b); },
                            gt = [](const Value& a, const Value& b) { return compare(">", a, b); },
                            ge = [](const Value& a, const Value& b) { return compare(">=", a, b); },
                            lt = [](const Value& a, const Value& b) { return compare("<", a, b); },
                            le = [](const Value& a, const Value& b) { return compare("<=", a, b); };
  static const std::map<std::string, PairTest, std::less<>> tests = {
      {"==", eq}, {"eq", eq}, {"equalto", eq}, {"!=", ne}, {"ne", ne}, {">", gt}, {"gt", gt}, {"greaterthan", gt},
      {">=", ge}, {"ge", ge}, {"<", lt}, {"lt", lt}, {"lessthan", lt}, {"<=", le}, {"le", le},
      {"divisibleby", [](const Value& a, const Value& b) { return remainder_is(a, b, 0); }},
      {"in", [](const Value& a, const Value& b) { return contains(b, a); }},
      {"sameas", same_as}};
  return tests;
}

}  // namespace

bool apply_test(const std::string& name, const Value& subject, const Arguments& arguments) {
  if (const auto found = kind_tests().find(name); found != kind_tests().end()) {
    bind(arguments, {});
    return found->second(subject);
  }
  const auto found = pair_tests().find(name);
  if (found == pair_tests().end()) throw Fault(str("the test ", name, " is not known or not supported"));
  return found->second(subject, required(bind(arguments, {"other"})[0]));
}

}  // namespace braid::jinja
