// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_operators.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "text/jinja_methods.h"
#include "text/jinja_unicode.h"

namespace braid::jinja {

namespace {

[[noreturn]] void refuse(const std::string& symbol, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b}) {
    if (value->as_undefined()) throw Fault(str(value->as_undefined()->hint, " is undefined"));
  }
  throw Fault(str(type_name(a), " ", symbol, " ", type_name(b), " is not supported"));
}

// By reference: the call that tells of the overflow also sets the result, in whatever order arguments are evaluated.
int64_t checked(bool overflow, const int64_t& result) {
  if (overflow) throw Fault("an integer beyond 64 bits");
  return result;
}

int64_t floor_quotient(int64_t a, int64_t b) {
  if (b == 0) throw Fault("division by zero");
  if (b == -1) return checked(a == INT64_MIN, a == INT64_MIN ? a : -a);
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

int64_t power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  bool overflow = false;
  for (; exponent > 0 && !overflow; exponent /= 2) {
    if (exponent % 2 == 1) overflow = __builtin_mul_overflow(result, base, &result);
    if (exponent > 1) overflow = __builtin_mul_overflow(base, base, &base) || overflow;
  }
  return checked(overflow, result);
}

double real(const Value& value) {
  return value.as_real() ? *value.as_real() : static_cast<double>(*value.as_integer());
}

double real_remainder(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

double real_arithmetic(const std::string& symbol, double a, double b) {
  if (symbol == "+") return a + b;
  if (symbol == "-") return a - b;
  if (symbol == "*") return a * b;
  if (symbol == "**") {
    if ((a < 0 && b != std::floor(b)) || (a == 0 && b < 0)) throw Fault("a power that is no real number");
    const double result = std::pow(a, b);
    if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) throw Fault("a power that is too large");
    return result;
  }
  if (b == 0) throw Fault("division by zero");
  if (symbol == "/") return a / b;
  if (symbol == "%") return real_remainder(a, b);
  const double quotient = std::floor((a - real_remainder(a, b)) / b + 0.5);
  return quotient == 0 ? std::copysign(0.0, a / b) : quotient;
}

Value integer_arithmetic(const std::string& symbol, int64_t a, int64_t b) {
  int64_t result = 0;
  if (symbol == "+") return checked(__builtin_add_overflow(a, b, &result), result);
  if (symbol == "-") return checked(__builtin_sub_overflow(a, b, &result), result);
  if (symbol == "*") return checked(__builtin_mul_overflow(a, b, &result), result);
  if (symbol == "//") return floor_quotient(a, b);
  if (symbol == "%") return b == -1 ? int64_t{0} : a - floor_quotient(a, b) * b;
  if (symbol == "**" && b >= 0) return power(a, b);
  return real_arithmetic(symbol, static_cast<double>(a), static_cast<double>(b));
}

Value repeated(const Value& value, int64_t times) {
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  if (count > 0 && weight(value) > max_weight / count)
    throw Fault(str("a value of more than ", max_weight >> 20, " MiB"));
  if (const std::string* text = value.as_text()) {
    std::string out;
    for (size_t i = 0; i < count; ++i) out += *text;
    return out;
  }
  Items items;
  const Sequence& sequence = *value.as_sequence();
  for (size_t i = 0; i < count; ++i) items.insert(items.end(), sequence.items.begin(), sequence.items.end());
  return Value::sequence(sequence.shape, std::move(items));
}

bool is_list(const Value& value) {
  const Sequence* sequence = value.as_sequence();
  return sequence && (sequence->shape == Shape::list || sequence->shape == Shape::tuple);
}

Value joined(const Sequence& a, const Sequence& b) {
  Items items = a.items;
  items.insert(items.end(), b.items.begin(), b.items.end());
  return Value::sequence(a.shape, std::move(items));
}

// The iterator's items are used up as far as the search goes.
bool found_in_iterator(Sequence& sequence, const Value& item) {
  while (sequence.next < sequence.items.size()) {
    if (equal(sequence.items[sequence.next++], item)) return true;
  }
  return false;
}

std::optional<size_t> place_within(int64_t index, size_t count) {
  if (index < 0) index += static_cast<int64_t>(count);
  return index >= 0 && index < static_cast<int64_t>(count) ? std::optional<size_t>(index) : std::nullopt;
}

bool can_be_indexed(const Value& value) {
  const Sequence* sequence = value.as_sequence();
  return value.as_text() || is_list(value) || (sequence && sequence->shape == Shape::range);
}

// What stands at an index, null when there is nothing.
std::optional<Value> indexed(const Value& subject, int64_t index) {
  if (const std::string* text = subject.as_text()) {
    const std::vector<std::string> points = split_points(*text);
    const auto place = place_within(index, points.size());
    return place ? std::optional<Value>(points[*place]) : std::nullopt;
  }
  const Items& items = subject.as_sequence()->items;
  const auto place = place_within(index, items.size());
  return place ? std::optional<Value>(items[*place]) : std::nullopt;
}

std::optional<Value> keyed(const Dict& dict, const Value& key) {
  try {
    const Value* value = find(dict.entries, key);
    return value ? std::optional<Value>(*value) : std::nullopt;
  } catch (const Fault&) {  // cannot be a key
    return std::nullopt;
  }
}

void require_defined(const Value& subject, const std::string& part) {
  if (!subject.as_undefined()) return;
  throw Fault(str(subject.as_undefined()->hint, " is undefined, it has no '", part, "'"));
}

std::optional<Value> own_attribute(const Value& subject, const std::string& name) {
  if (name.starts_with("__")) return Value::undefined(name);  // hidden by Jinja's sandbox
  if (const Namespace* space = subject.as_namespace()) {
    const Value* value = find(space->entries, Value(name));
    return value ? std::optional<Value>(*value) : std::nullopt;
  }
  if (const Loop* loop = subject.as_loop()) return loop_attribute(*loop, name);
  return method_of(subject, name);
}

// A bound of a slice; null where it is none, absent or (flag) of a wrong type.
std::optional<int64_t> bound(const Value& value, bool absent, bool& wrong) {
  if (absent || value.is_none()) return std::nullopt;
  wrong = wrong || !value.as_integer();
  return value.as_integer();
}

// The places that Python's slice visits.
std::vector<size_t> sliced_places(int64_t count, std::optional<int64_t> begin, std::optional<int64_t> end,
                                  int64_t step) {
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? count : count - 1;
  const auto clamp = [&](int64_t bound) {
    return std::clamp<int64_t>(bound < 0 && bound >= -count ? bound + count : bound, low, high);
  };
  const int64_t first = begin ? clamp(*begin) : (step > 0 ? low : high);
  const int64_t last = end ? clamp(*end) : (step > 0 ? high : low);
  std::vector<size_t> places;
  for (int64_t i = first; step > 0 ? i < last : i > last;) {
    places.push_back(static_cast<size_t>(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return places;
}

}  // namespace

Value arithmetic(const std::string& symbol, const Value& a, const Value& b) {
  if (a.as_integer() && b.as_integer()) return integer_arithmetic(symbol, *a.as_integer(), *b.as_integer());
  if (a.is_number() && b.is_number()) return real_arithmetic(symbol, real(a), real(b));
  if (symbol == "+" && a.as_text() && b.as_text()) {
    std::string text = *a.as_text();
    append(text, *b.as_text());
    return text;
  }
  if (symbol == "+" && is_list(a) && is_list(b) && a.as_sequence()->shape == b.as_sequence()->shape) {
    return joined(*a.as_sequence(), *b.as_sequence());
  }
  const auto repeatable = [](const Value& value) { return value.as_text() || is_list(value); };
  if (symbol == "*" && repeatable(a) && b.as_integer()) return repeated(a, *b.as_integer());
  if (symbol == "*" && repeatable(b) && a.as_integer()) return repeated(b, *a.as_integer());
  refuse(symbol, a, b);
}

Value signed_number(const std::string& sign, const Value& value) {
  if (const double* number = value.as_real()) return sign == "-" ? -*number : *number;
  const auto integer = value.as_integer();
  if (!integer) refuse(sign, Value(int64_t{0}), value);
  return sign == "-" ? integer_arithmetic("-", 0, *integer) : Value(*integer);
}

bool contains(const Value& container, const Value& item) {
  if (const std::string* text = container.as_text()) {
    if (!item.as_text()) refuse("in", item, container);
    return text->find(*item.as_text()) != std::string::npos;
  }
  if (const Dict* dict = container.as_dict()) return find(dict->entries, item) != nullptr;
  if (container.as_undefined()) return false;
  Sequence* sequence = container.as_sequence();
  if (!sequence) refuse("in", item, container);
  if (sequence->shape == Shape::iterator) return found_in_iterator(*sequence, item);
  return std::any_of(sequence->items.begin(), sequence->items.end(), [&](const Value& x) { return equal(x, item); });
}

bool compare(const std::string& symbol, const Value& a, const Value& b) {
  if (symbol == "==") return equal(a, b);
  if (symbol == "!=") return !equal(a, b);
  if (symbol == "in") return contains(b, a);
  if (symbol == "not in") return !contains(b, a);
  const bool nan = (a.as_real() && std::isnan(*a.as_real())) || (b.as_real() && std::isnan(*b.as_real()));
  if (nan && a.is_number() && b.is_number()) return false;
  if (symbol == "<") return less(a, b);
  if (symbol == ">") return less(b, a);
  return symbol == "<=" ? !less(b, a) : !less(a, b);
}

Value item_of(const Value& subject, const Value& place) {
  const std::string* name = place.as_text();
  require_defined(subject, name ? *name : "[…]");
  std::optional<Value> found;
  if (const Dict* dict = subject.as_dict()) {
    found = keyed(*dict, place);
  } else if (can_be_indexed(subject) && place.as_integer()) {
    found = indexed(subject, *place.as_integer());
  }
  if (!found && name) found = own_attribute(subject, *name);
  return found ? *found : Value::undefined(name ? "'" + *name + "'" : "an item");
}

Value slice_of(const Value& subject, const Value& begin, const Value& end, const Value& step) {
  require_defined(subject, "[…]");
  bool wrong = !can_be_indexed(subject);
  const auto absent = [](const Value& value) { return value.as_undefined() && value.as_undefined()->hint.empty(); };
  const auto first = bound(begin, absent(begin), wrong), last = bound(end, absent(end), wrong);
  const int64_t stride = bound(step, absent(step), wrong).value_or(1);
  if (wrong) throw Fault(str("a ", type_name(subject), " cannot be sliced so"));
  if (stride == 0) throw Fault("a slice with step 0");
  if (const std::string* text = subject.as_text()) {
    const std::vector<std::string> points = split_points(*text);
    std::string out;
    for (const size_t i : sliced_places(static_cast<int64_t>(points.size()), first, last, stride)) out += points[i];
    return out;
  }
  const Sequence& sequence = *subject.as_sequence();
  Items items;
  for (const size_t i : sliced_places(static_cast<int64_t>(sequence.items.size()), first, last, stride)) {
    items.push_back(sequence.items[i]);
  }
  return Value::sequence(sequence.shape, std::move(items));
}

Value attribute_of(const Value& subject, const std::string& name) {
  require_defined(subject, name);
  std::optional<Value> found = own_attribute(subject, name);
  if (!found && subject.as_dict()) found = keyed(*subject.as_dict(), Value(name));
  return found ? *found : Value::undefined("'" + name + "'");
}

}  // namespace braid::jinja
