// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_filters.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "text/jinja_literals.h"
#include "text/jinja_methods.h"
#include "text/jinja_operators.h"
#include "text/jinja_print.h"
#include "text/jinja_unicode.h"

namespace braid::jinja {

namespace {

template <Case to>
Value in_case(const Value& subject, const Arguments& arguments) {
  bind(arguments, {});
  return change_case(to_text(subject), to);
}

// Jinja's own: a word begins after blanks, a hyphen or an opening bracket.
Value title(const Value& subject, const Arguments& arguments) {
  bind(arguments, {});
  const std::string text = to_text(subject);
  const std::string upper = change_case(text, Case::upper);
  std::string out = change_case(text, Case::lower);
  bool begins = true;
  for (size_t i = 0; i < out.size(); ++i) {
    if (begins) out[i] = upper[i];
    begins = is_space(static_cast<unsigned char>(out[i])) ||
             std::string_view("-({[<").find(out[i]) != std::string_view::npos;
  }
  return out;
}

Value trim(const Value& subject, const Arguments& arguments) {
  return strip(to_text(subject), Side::both, text_or_null(bind(arguments, {"chars"})[0]));
}

Value replaced(const Value& subject, const Arguments& arguments) {
  const auto bound = bind(arguments, {"old", "new", "count"});
  return replace(to_text(subject), to_text(required(bound[0])), to_text(required(bound[1])), integer_or(bound[2], -1));
}

Value text(const Value& subject, const Arguments& arguments) {
  bind(arguments, {});
  return to_text(subject);
}

Value default_value(const Value& subject, const Arguments& arguments) {
  const auto bound = bind(arguments, {"default_value", "boolean"});
  const bool missing = subject.as_undefined() || (truth_or(bound[1], false) && !truthy(subject));
  return missing ? bound[0].value_or(Value("")) : subject;
}

std::string blanks(const Value& width) {
  if (const std::string* text = width.as_text()) return *text;
  const int64_t count = std::max<int64_t>(integer_or(width, 0), 0);
  if (count > 1000) throw Fault("an indentation of more than 1000 blanks");
  return std::string(static_cast<size_t>(count), ' ');
}

Value indent(const Value& subject, const Arguments& arguments) {
  const auto bound = bind(arguments, {"width", "first", "blank"});
  const std::string margin = blanks(bound[0].value_or(Value(int64_t{4})));
  const bool blank_too = truth_or(bound[2], false);
  std::string out = truth_or(bound[1], false) ? margin : "";
  bool first = true;
  for (const std::string& line : split_lines(required_text(subject) + "\n")) {
    if (!first) append(out, "\n" + (blank_too || !line.empty() ? margin : ""));
    append(out, line);
    first = false;
  }
  return out;
}

void require_defined(const Value& subject) {
  if (subject.as_undefined()) throw Fault(str(subject.as_undefined()->hint, " is undefined"));
}

// Towards zero; nothing where Python's int() raises ValueError.
std::optional<int64_t> truncated(double number) {
  if (std::isnan(number)) return std::nullopt;
  if (std::abs(number) >= 9.2e18) throw Fault("an integer beyond 64 bits");
  return static_cast<int64_t>(number);
}

Value integer(const Value& subject, const Arguments& arguments) {
  const auto bound = bind(arguments, {"default", "base"});
  require_defined(subject);
  if (integer_or(bound[1], 10) != 10) throw Fault("| int with another base than 10 is not supported");
  const Value otherwise = bound[0].value_or(Value(int64_t{0}));
  if (subject.as_integer()) return *subject.as_integer();
  std::optional<double> number;
  if (const double* real = subject.as_real()) number = *real;
  if (const std::string* digits = subject.as_text()) {
    if (const auto whole = integer_of_text(*digits)) return *whole;
    number = real_of_text(*digits);
    if (number && std::isinf(*number)) return otherwise;
  }
  const auto whole = number ? truncated(*number) : std::nullopt;
  return whole ? Value(*whole) : otherwise;
}

Value real(const Value& subject, const Arguments& arguments) {
  const auto bound = bind(arguments, {"default"});
  require_defined(subject);
  if (const auto whole = subject.as_integer()) return static_cast<double>(*whole);
  if (subject.as_real()) return subject;
  const auto number = subject.as_text() ? real_of_text(*subject.as_text()) : std::nullopt;
  return number ? Value(*number) : bound[0].value_or(Value(0.0));
}

Value absolute(const Value& subject, const Arguments& arguments) {
  bind(arguments, {});
  if (!subject.is_number()) throw Fault(str("a ", type_name(subject), " has no absolute value"));
  return compare("<", subject, Value(int64_t{0})) ? signed_number("-", subject) : signed_number("+", subject);
}

double rounded_common(double number, int64_t precision) {
  char digits[512];
  std::snprintf(digits, sizeof digits, "%.*f", static_cast<int>(precision), number);
  return std::strtod(digits, nullptr);
}

Value rounded(const Value& subject, const Arguments& arguments) {
  const auto bound = bind(arguments, {"precision", "method"});
  const int64_t precision = integer_or(bound[0], 0);
  const std::string method = bound[1] ? required_text(bound[1]) : "common";
  if (precision < 0 || precision > 15) throw Fault("| round: expected a precision from 0 to 15");
  if (!subject.is_number()) throw Fault(str("a ", type_name(subject), " cannot be rounded"));
  if (subject.as_integer() && method == "common") return *subject.as_integer();
  const double number = subject.as_real() ? *subject.as_real() : static_cast<double>(*subject.as_integer());
  if (method == "common") return rounded_common(number, precision);
  if (method != "ceil" && method != "floor") throw Fault("| round: expected common, ceil or floor");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  return (method == "ceil" ? std::ceil(number * scale) : std::floor(number * scale)) / scale;
}

Value json(const Value& subject, const Arguments& arguments) {
  const auto bound = bind(arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii = truth_or(bound[0], false);
  style.sorted = truth_or(bound[3], false);
  const std::string margin = bound[1] && !bound[1]->is_none() ? blanks(*bound[1]) : "";
  if (bound[1] && !bound[1]->is_none()) {
    style.indent = &margin;
    style.between_items = ",";
  }
  if (bound[2] && !bound[2]->is_none()) {
    const Items separators = iterate(*bound[2]);
    if (separators.size() != 2) throw Fault("| tojson: expected two separators");
    style.between_items = required_text(separators[0]);
    style.after_key = required_text(separators[1]);
  }
  return to_json(subject, style);
}

Value safe(const Value&, const Arguments&) {
  throw Fault("the filter safe is not supported but as the last one of an output");
}

}  // namespace

const Filters& scalar_filters() {
  static const Filters filters = {
      {"abs", absolute}, {"capitalize", in_case<Case::capitalize>}, {"d", default_value}, {"default", default_value},
      {"float", real}, {"indent", indent}, {"int", integer}, {"lower", in_case<Case::lower>}, {"replace", replaced},
      {"round", rounded}, {"safe", safe}, {"string", text}, {"title", title}, {"tojson", json}, {"trim", trim},
      {"upper", in_case<Case::upper>}};
  return filters;
}

Value apply_filter(const std::string& name, const Value& subject, const Arguments& arguments) {
  for (const Filters* filters : {&scalar_filters(), &sequence_filters()}) {
    if (const auto found = filters->find(name); found != filters->end()) return found->second(subject, arguments);
  }
  throw Fault(str("the filter ", name, " is not known or not supported"));
}

}  // namespace braid::jinja
