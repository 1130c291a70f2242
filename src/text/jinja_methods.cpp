// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_methods.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "text/jinja_text_methods.h"
#include "text/jinja_unicode.h"

namespace braid::jinja {

namespace {

using Names = std::set<std::string, std::less<>>;

const Names changing = {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove", "popitem",
                        "setdefault", "update"};
const Names list_names = {"append", "clear", "copy",   "count",   "extend", "index",
                          "insert", "pop",   "remove", "reverse", "sort"};
const Names tuple_names = {"count", "index"};
const Names range_names = {"count", "index", "start", "step", "stop"};
const Names dict_names = {"clear", "copy",    "fromkeys",   "get",    "items", "keys",
                          "pop",   "popitem", "setdefault", "update", "values"};
const Names number_names = {"as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator", "from_bytes",
                            "imag", "numerator", "real", "to_bytes", "fromhex", "hex", "is_integer"};
const Names function_names = {"arguments", "caller", "catch_kwargs", "catch_varargs", "explicit_caller", "name"};
const Names view_names = {"isdisjoint", "mapping"};
const Names no_names;

// The attributes that Python gives a value of this type.
const Names& names_of(const Value& receiver) {
  if (receiver.as_text()) return text_attribute_names();
  if (receiver.as_dict()) return dict_names;
  if (receiver.is_number()) return number_names;
  if (receiver.as_function()) return function_names;
  const Sequence* sequence = receiver.as_sequence();
  if (!sequence) return no_names;
  switch (sequence->shape) {
    case Shape::list: return list_names;
    case Shape::tuple: return tuple_names;
    case Shape::range: return range_names;
    case Shape::iterator: return no_names;
    default: return view_names;
  }
}

bool is_known(const Value& receiver, const std::string& name) {
  static const Names list_methods = {"count", "index", "copy"},
                     dict_methods = {"get", "items", "keys", "values", "copy"};
  if (receiver.as_text()) return is_text_method(name);
  if (receiver.as_dict()) return dict_methods.contains(name);
  const Sequence* sequence = receiver.as_sequence();
  return sequence && (sequence->shape == Shape::list || sequence->shape == Shape::tuple) && list_methods.contains(name);
}

Value dict_view(const Dict& dict, const std::string& name) {
  Items items;
  for (const auto& [key, value] : dict.entries) {
    items.push_back(name == "keys" ? key : name == "values" ? value : Value::sequence(Shape::tuple, {key, value}));
  }
  const Shape shape = name == "keys" ? Shape::dict_keys : name == "values" ? Shape::dict_values : Shape::dict_items;
  return Value::sequence(shape, std::move(items));
}

Value call_dict_method(const Value& receiver, const std::string& name, const Arguments& arguments) {
  const Dict& dict = *receiver.as_dict();
  if (name == "get") {
    const auto bound = bind(arguments, {"key", "default"});
    const Value* found = find(dict.entries, required(bound[0]));
    return found ? *found : bound[1].value_or(None{});
  }
  bind(arguments, {});
  return name == "copy" ? receiver : dict_view(dict, name);
}

Value call_list_method(const Value& receiver, const std::string& name, const Arguments& arguments) {
  const Items& items = receiver.as_sequence()->items;
  if (name == "copy") return bind(arguments, {}), receiver;
  const auto bound = bind(arguments, {"value"});
  const Value& wanted = required(bound[0]);
  const auto same = [&](const Value& item) { return equal(item, wanted); };
  if (name == "count") return static_cast<int64_t>(std::count_if(items.begin(), items.end(), same));
  const auto found = std::find_if(items.begin(), items.end(), same);
  if (found == items.end()) throw Fault("index: the value is not in the list");
  return static_cast<int64_t>(found - items.begin());
}

Value loop_neighbour(const Loop& loop, int64_t offset) {
  const int64_t place = static_cast<int64_t>(loop.index) + offset;
  const bool there = place >= 0 && place < static_cast<int64_t>(loop.items.size());
  return there ? loop.items[static_cast<size_t>(place)] : Value::undefined("the neighbour of an item at the end");
}

}  // namespace

std::optional<Value> method_of(const Value& receiver, const std::string& name) {
  if (!names_of(receiver).contains(name)) return std::nullopt;
  if (!receiver.as_text() && changing.contains(name)) return Value::undefined(name);
  if (!is_known(receiver, name))
    throw Fault(str("the method or attribute ", type_name(receiver), ".", name, " is not supported"));
  auto method = std::make_shared<Function>();
  method->name = name;
  method->receiver = receiver;
  return Value(std::shared_ptr<const Function>(std::move(method)));
}

Value call_method(const Value& receiver, const std::string& name, const Arguments& arguments) {
  if (receiver.as_text()) return call_text_method(*receiver.as_text(), name, arguments);
  return receiver.as_dict() ? call_dict_method(receiver, name, arguments) : call_list_method(receiver, name, arguments);
}

std::optional<Value> loop_attribute(const Loop& loop, const std::string& name) {
  const auto index = static_cast<int64_t>(loop.index), length = static_cast<int64_t>(loop.items.size());
  const std::map<std::string, int64_t, std::less<>> numbers = {{"index", index + 1},
                                                               {"index0", index},
                                                               {"revindex", length - index},
                                                               {"revindex0", length - index - 1},
                                                               {"length", length},
                                                               {"depth", static_cast<int64_t>(loop.depth)},
                                                               {"depth0", static_cast<int64_t>(loop.depth) - 1}};
  if (const auto found = numbers.find(name); found != numbers.end()) return Value(found->second);
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == length);
  if (name == "previtem") return loop_neighbour(loop, -1);
  if (name == "nextitem") return loop_neighbour(loop, 1);
  if (name == "cycle" || name == "changed") throw Fault(str("loop.", name, " is not supported"));
  return std::nullopt;
}

}  // namespace braid::jinja
