// SPDX-License-Identifier: Apache-2.0
// Filters of what can be iterated. Those that give a generator in Jinja give an iterator here.
#include <algorithm>
#include <functional>

#include "base/error.h"
#include "text/jinja_filters.h"
#include "text/jinja_operators.h"
#include "text/jinja_print.h"
#include "text/jinja_unicode.h"

namespace braid::jinja {

namespace {

using Getter = std::function<Value(const Value&)>;

// `a.b.0`: item after item; a part that is undefined gets the default, if there is one.
Getter getter(const std::optional<Value>& attribute, const std::optional<Value>& otherwise = std::nullopt) {
  Items path;
  if (attribute && attribute->as_text()) {
    std::string rest = *attribute->as_text() + ".";
    for (size_t dot = rest.find('.'); dot != std::string::npos; dot = rest.find('.')) {
      const std::string part = rest.substr(0, dot);
      const bool number =
          !part.empty() && part.size() < 18 && part.find_first_not_of("0123456789") == std::string::npos;
      path.push_back(number ? Value(int64_t{std::stoll(part)}) : Value(part));
      rest.erase(0, dot + 1);
    }
  } else if (attribute && !attribute->is_none()) {
    path.push_back(*attribute);
  }
  return [path, otherwise](const Value& item) {
    Value value = item;
    for (const Value& part : path) {
      value = item_of(value, part);
      if (value.as_undefined() && otherwise && !otherwise->is_none()) value = *otherwise;
    }
    return value;
  };
}

Value case_key(const Value& value, bool sensitive) {
  return value.as_text() && !sensitive ? Value(change_case(*value.as_text(), Case::lower)) : value;
}

Value iterator(Items items) { return Value::sequence(Shape::iterator, std::move(items)); }

Arguments after(const Arguments& arguments, size_t count) {
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(), rest.positional.begin() + static_cast<std::ptrdiff_t>(count));
  return rest;
}

Value length(const Value& subject, const Arguments& arguments) {
  bind(arguments, {});
  if (subject.as_undefined()) return int64_t{0};
  if (const std::string* text = subject.as_text()) return static_cast<int64_t>(count_points(*text));
  if (const Dict* dict = subject.as_dict()) return static_cast<int64_t>(dict->entries.size());
  const Sequence* sequence = subject.as_sequence();
  if (!sequence || sequence->shape == Shape::iterator) throw Fault(str("a ", type_name(subject), " has no length"));
  return static_cast<int64_t>(sequence->items.size());
}

Value first(const Value& subject, const Arguments& arguments) {
  bind(arguments, {});
  Sequence* sequence = subject.as_sequence();
  if (sequence && sequence->shape == Shape::iterator) {
    return sequence->next < sequence->items.size() ? sequence->items[sequence->next++]
                                                   : Value::undefined("the first item");
  }
  const Items items = iterate(subject);
  return items.empty() ? Value::undefined("the first item") : items.front();
}

bool is_iterator(const Value& value) { return value.as_sequence() && value.as_sequence()->shape == Shape::iterator; }

Value last(const Value& subject, const Arguments& arguments) {
  bind(arguments, {});
  if (is_iterator(subject)) throw Fault("a generator has no last item");
  const Items items = iterate(subject);
  return items.empty() ? Value::undefined("the last item") : items.back();
}

Value list(const Value& subject, const Arguments& arguments) {
  bind(arguments, {});
  return Value::list(iterate(subject));
}

Value reverse(const Value& subject, const Arguments& arguments) {
  bind(arguments, {});
  Items items = iterate(subject);
  std::reverse(items.begin(), items.end());
  if (subject.as_text()) {
    std::string text;
    for (const Value& point : items) text += *point.as_text();
    return text;
  }
  return is_iterator(subject) ? Value::list(std::move(items)) : iterator(std::move(items));
}

Value join(const Value& subject, const Arguments& arguments) {
  const auto bound = bind(arguments, {"d", "attribute"});
  const std::string between = bound[0] ? to_text(*bound[0]) : "";
  const Getter get = getter(bound[1]);
  std::string out;
  bool begins = true;
  for (const Value& item : iterate(subject)) {
    if (!begins) append(out, between);
    append(out, to_text(get(item)));
    begins = false;
  }
  return out;
}

Value items(const Value& subject, const Arguments& arguments) {
  bind(arguments, {});
  if (subject.as_undefined()) return iterator({});
  if (!subject.as_dict()) throw Fault(str("a ", type_name(subject), " has no items"));
  Items pairs;
  for (const auto& [key, value] : subject.as_dict()->entries)
    pairs.push_back(Value::sequence(Shape::tuple, {key, value}));
  return iterator(std::move(pairs));
}

void sort_by(Items& values, bool reverse, const Getter& key) {
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& value : values) keyed.emplace_back(key(value), value);
  // Python reverses a stable order without changing the order of equals.
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(b.first, a.first) : less(a.first, b.first);
  });
  for (size_t i = 0; i < values.size(); ++i) values[i] = keyed[i].second;
}

Value sort(const Value& subject, const Arguments& arguments) {
  const auto bound = bind(arguments, {"reverse", "case_sensitive", "attribute"});
  if (bound[2] && bound[2]->as_text() && bound[2]->as_text()->find(',') != std::string::npos) {
    throw Fault("| sort by several attributes is not supported");
  }
  const bool sensitive = truth_or(bound[1], false);
  const Getter get = getter(bound[2]);
  Items values = iterate(subject);
  sort_by(values, truth_or(bound[0], false), [&](const Value& item) { return case_key(get(item), sensitive); });
  return Value::list(std::move(values));
}

Value dictsort(const Value& subject, const Arguments& arguments) {
  const auto bound = bind(arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = bound[1] ? required_text(bound[1]) : "key";
  if (by != "key" && by != "value") throw Fault("| dictsort: expected by key or value");
  if (!subject.as_dict()) throw Fault(str("a ", type_name(subject), " has no items"));
  Items pairs = iterate(items(subject, {}));
  const bool sensitive = truth_or(bound[0], false);
  sort_by(pairs, truth_or(bound[2], false),
          [&](const Value& pair) { return case_key(pair.as_sequence()->items[by == "key" ? 0 : 1], sensitive); });
  return Value::list(std::move(pairs));
}

Value unique(const Value& subject, const Arguments& arguments) {
  const auto bound = bind(arguments, {"case_sensitive", "attribute"});
  const Getter get = getter(bound[1]);
  Items kept;
  Entries seen;
  for (const Value& item : iterate(subject)) {
    const Value key = case_key(get(item), truth_or(bound[0], false));
    if (find(seen, key)) continue;
    seen.emplace_back(key, None{});
    kept.push_back(item);
  }
  return iterator(std::move(kept));
}

template <bool largest>
Value extreme(const Value& subject, const Arguments& arguments) {
  const auto bound = bind(arguments, {"case_sensitive", "attribute"});
  const Getter get = getter(bound[1]);
  const bool sensitive = truth_or(bound[0], false);
  std::optional<Value> best;
  for (const Value& item : iterate(subject)) {
    const auto key = [&](const Value& value) { return case_key(get(value), sensitive); };
    if (!best || (largest ? less(key(*best), key(item)) : less(key(item), key(*best)))) best = item;
  }
  return best ? *best : Value::undefined("the extreme of no items");
}

Value sum(const Value& subject, const Arguments& arguments) {
  const auto bound = bind(arguments, {"attribute", "start"});
  const Getter get = getter(bound[0]);
  Value total = bound[1].value_or(Value(int64_t{0}));
  if (total.as_text()) throw Fault("| sum cannot add texts");
  for (const Value& item : iterate(subject)) total = arithmetic("+", total, get(item));
  return total;
}

Value map(const Value& subject, const Arguments& arguments) {
  std::function<Value(const Value&)> change;
  if (arguments.positional.empty()) {
    const auto bound = bind(arguments, {"attribute", "default"});
    required(bound[0]);
    change = getter(bound[0], bound[1]);
  } else {
    const Arguments rest = after(arguments, 1);
    const std::string name = required_text(arguments.positional[0]);
    change = [rest, name](const Value& item) { return apply_filter(name, item, rest); };
  }
  Items changed;
  if (!truthy(subject)) return iterator({});
  for (const Value& item : iterate(subject)) changed.push_back(change(item));
  return iterator(std::move(changed));
}

// select, reject, selectattr, rejectattr: the items whose value, or whose attribute, passes a test or not.
template <bool by_attribute, bool wanted>
Value chosen(const Value& subject, const Arguments& arguments) {
  if (by_attribute && arguments.positional.empty()) throw Fault("the name of an attribute is missing");
  const Getter get = getter(by_attribute ? std::optional<Value>(arguments.positional[0]) : std::nullopt);
  Arguments rest = after(arguments, by_attribute ? 1 : 0);
  const bool has_test = !rest.positional.empty();
  const std::string test = has_test ? required_text(rest.positional[0]) : "";
  if (has_test) rest = after(rest, 1);
  Items kept;
  if (!truthy(subject)) return iterator({});
  for (const Value& item : iterate(subject)) {
    const Value value = get(item);
    if ((has_test ? apply_test(test, value, rest) : truthy(value)) == wanted) kept.push_back(item);
  }
  return iterator(std::move(kept));
}

}  // namespace

const Filters& sequence_filters() {
  static const Filters filters = {
      {"count", length}, {"dictsort", dictsort}, {"first", first}, {"items", items}, {"join", join}, {"last", last},
      {"length", length}, {"list", list}, {"map", map}, {"max", extreme<true>}, {"min", extreme<false>},
      {"reject", chosen<false, false>}, {"rejectattr", chosen<true, false>}, {"reverse", reverse},
      {"select", chosen<false, true>}, {"selectattr", chosen<true, true>}, {"sort", sort}, {"sum", sum},
      {"unique", unique}};
  return filters;
}

}  // namespace braid::jinja
