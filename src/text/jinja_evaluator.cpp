// SPDX-License-Identifier: Apache-2.0
// The interpreter's expressions and calls.
#include <algorithm>
#include <array>
#include <ctime>

#include "base/error.h"
#include "text/jinja_filters.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_methods.h"
#include "text/jinja_operators.h"
#include "text/jinja_print.h"

namespace braid::jinja {

namespace {

constexpr size_t max_depth = 400;
constexpr size_t max_steps = 5'000'000;
constexpr size_t bytes_per_step = 64;  // of a value that is read or made
constexpr int64_t max_range = 100'000;  // Jinja's

bool is_global(const std::string& name) {
  constexpr std::array<const char*, 5> names = {"range", "dict", "namespace", "raise_exception", "strftime_now"};
  return std::find(names.begin(), names.end(), name) != names.end();
}

void require_supported(const std::string& name) {
  for (const char* other : {"lipsum", "cycler", "joiner", "varargs", "kwargs"}) {
    if (name == other) throw Fault(str(name, " is not supported"));
  }
}

Value range(const Arguments& arguments) {
  const auto bound = bind(arguments, {"start", "stop", "step"});
  const auto number = [&](size_t i) { return *required(bound[i]).as_integer(); };
  for (const Value& value : arguments.positional) {
    if (!value.as_integer()) throw Fault(str("range: expected integers, found a ", type_name(value)));
  }
  if (arguments.positional.empty()) throw Fault("range: expected one to three integers");
  const bool one = !bound[1];
  const int64_t start = one ? 0 : number(0), stop = number(one ? 0 : 1), step = bound[2] ? number(2) : 1;
  if (step == 0) throw Fault("range: a step of 0");
  Items items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    items.emplace_back(i);
    if (static_cast<int64_t>(items.size()) > max_range) throw Fault(str("range: more than ", max_range, " numbers"));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return Value::sequence(Shape::range, std::move(items));
}

// dict(mapping or pairs, name=value, …).
Entries dict_entries(const Arguments& arguments) {
  Entries entries;
  if (arguments.positional.size() > 1) throw Fault("expected at most one value by position");
  if (!arguments.positional.empty() && arguments.positional[0].as_dict()) {
    entries = arguments.positional[0].as_dict()->entries;
  } else if (!arguments.positional.empty()) {
    for (const Value& item : iterate(arguments.positional[0])) {
      const Items pair = iterate(item);
      if (pair.size() != 2) throw Fault("expected pairs of key and value");
      put(entries, pair[0], pair[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) put(entries, Value(name), value);
  return entries;
}

Value strftime_now(const Arguments& arguments) {
  const std::string format = required_text(bind(arguments, {"format"})[0]);
  for (const char* field : {"%f", "%z", "%Z"}) {
    if (format.find(field) != std::string::npos) throw Fault(str("strftime_now: ", field, " is not supported"));
  }
  if (format.size() > 1000) throw Fault("strftime_now: a format of more than 1000 bytes");
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::array<char, 16384> text;
  const size_t length = std::strftime(text.data(), text.size(), format.c_str(), &local);
  return std::string(text.data(), length);
}

}  // namespace

void Interpreter::charge(size_t steps) {
  steps_ += steps;
  if (steps_ > max_steps) throw Fault(str("more than ", max_steps, " steps"));
}

void Interpreter::enter() {
  if (++depth_ > max_depth) throw Fault(str("blocks, macros and expressions nested more than ", max_depth, " deep"));
  charge(1);
}

const Value& Interpreter::charged(const Value& value) {
  charge(weight(value) / bytes_per_step);
  return value;
}

Value Interpreter::charged(Value&& value) {
  charge(weight(value) / bytes_per_step);
  return std::move(value);
}

Value Interpreter::evaluate(const Node& node, const ScopePointer& scope) {
  try {
    enter();
    Value value = evaluate_kind(node, scope);
    --depth_;
    return value;
  } catch (const Fault& fault) {
    throw RunFault{node.line, fault.what()};
  }
}

Value Interpreter::evaluate_kind(const Node& node, const ScopePointer& scope) {
  switch (node.kind) {
    case NodeKind::constant: return node.value;
    case NodeKind::name: return evaluate_name(node, scope);
    case NodeKind::captured: return Value(*captured_);
    case NodeKind::attribute: return attribute_of(evaluate(node.parts[0], scope), node.text);
    case NodeKind::index: return evaluate_index(node, scope);
    case NodeKind::call: return evaluate_call(node, scope);
    case NodeKind::filter: {
      const Value subject = evaluate(node.parts[0], scope);
      return charged(apply_filter(node.text, charged(subject), evaluate_arguments(node, scope)));
    }
    case NodeKind::test: {
      const Value subject = evaluate(node.parts[0], scope);
      return apply_test(node.text, charged(subject), evaluate_arguments(node, scope));
    }
    case NodeKind::negate: return evaluate_negation(node, scope);
    case NodeKind::binary: {
      const Value left = evaluate(node.parts[0], scope);
      return charged(arithmetic(node.text, left, evaluate(node.parts[1], scope)));
    }
    case NodeKind::comparison: return evaluate_comparison(node, scope);
    case NodeKind::conjunction: return evaluate_conjunction(node, scope);
    case NodeKind::concatenation: return evaluate_concatenation(node, scope);
    case NodeKind::conditional: return evaluate_conditional(node, scope);
    case NodeKind::list:
    case NodeKind::tuple: return evaluate_parts(node, scope);
    case NodeKind::dict: return evaluate_dict(node, scope);
    default: return Value();  // an optional part that is not there
  }
}

Value Interpreter::evaluate_name(const Node& node, const ScopePointer& scope) {
  for (const Scope* place = scope.get(); place; place = place->outer.get()) {
    const auto found = place->names.find(node.text);
    if (found != place->names.end()) return found->second;
  }
  require_supported(node.text);
  if (!is_global(node.text)) return Value::undefined("'" + node.text + "'");
  const auto function = std::make_shared<Function>();
  function->name = node.text;
  return Value(std::shared_ptr<const Function>(function));
}

Value Interpreter::evaluate_parts(const Node& node, const ScopePointer& scope) {
  Items items;
  for (const Node& part : node.parts) items.push_back(evaluate(part, scope));
  return charged(Value::sequence(node.is(NodeKind::list) ? Shape::list : Shape::tuple, std::move(items)));
}

Value Interpreter::evaluate_dict(const Node& node, const ScopePointer& scope) {
  Entries entries;
  for (size_t i = 0; i + 1 < node.parts.size(); i += 2) {
    const Value key = evaluate(node.parts[i], scope);
    put(entries, key, evaluate(node.parts[i + 1], scope));
  }
  return charged(Value::dict(std::move(entries)));
}

Value Interpreter::evaluate_index(const Node& node, const ScopePointer& scope) {
  const Value subject = evaluate(node.parts[0], scope);
  const Node& place = node.parts[1];
  if (!place.is(NodeKind::slice)) return item_of(charged(subject), evaluate(place, scope));
  const Value begin = evaluate(place.parts[0], scope), end = evaluate(place.parts[1], scope);
  return charged(slice_of(charged(subject), begin, end, evaluate(place.parts[2], scope)));
}

Value Interpreter::evaluate_comparison(const Node& node, const ScopePointer& scope) {
  Value left = evaluate(node.parts[0], scope);
  for (size_t i = 0; i < node.names.size(); ++i) {
    Value right = evaluate(node.parts[i + 1], scope);
    if (!compare(node.names[i], charged(left), charged(right))) return false;
    left = std::move(right);
  }
  return true;
}

// As in Python the value of `a or b` is one of the two.
Value Interpreter::evaluate_conjunction(const Node& node, const ScopePointer& scope) {
  Value left = evaluate(node.parts[0], scope);
  return truthy(left) == (node.text == "or") ? left : evaluate(node.parts[1], scope);
}

Value Interpreter::evaluate_negation(const Node& node, const ScopePointer& scope) {
  const Value operand = evaluate(node.parts[0], scope);
  return node.text == "not" ? Value(!truthy(operand)) : signed_number(node.text, operand);
}

Value Interpreter::evaluate_concatenation(const Node& node, const ScopePointer& scope) {
  std::string text;
  for (const Node& part : node.parts) append(text, to_text(charged(evaluate(part, scope))));
  return text;
}

Value Interpreter::evaluate_conditional(const Node& node, const ScopePointer& scope) {
  if (truthy(evaluate(node.parts[0], scope))) return evaluate(node.parts[1], scope);
  if (!node.parts[2].is(NodeKind::nothing)) return evaluate(node.parts[2], scope);
  return Value::undefined("an inline if without else");
}

Arguments Interpreter::evaluate_arguments(const Node& node, const ScopePointer& scope) {
  Arguments arguments;
  for (size_t i = 0; i < node.names.size(); ++i) {
    Value value = evaluate(node.parts[i + 1], scope);
    if (node.names[i].empty()) {
      arguments.positional.push_back(std::move(value));
    } else {
      arguments.named.emplace_back(node.names[i], std::move(value));
    }
  }
  return arguments;
}

Value Interpreter::evaluate_call(const Node& node, const ScopePointer& scope) {
  const Value callee = evaluate(node.parts[0], scope);
  return charged(call(callee, evaluate_arguments(node, scope)));
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  if (callee.as_undefined()) throw Fault(str(callee.as_undefined()->hint, " is undefined and cannot be called"));
  const Function* function = callee.as_function();
  if (!function) throw Fault(str("a ", type_name(callee), " cannot be called"));
  if (function->macro) return call_macro(*function, arguments);
  return function->receiver ? call_method(charged(*function->receiver), function->name, arguments)
                            : call_global(function->name, arguments);
}

Value Interpreter::call_macro(const Function& function, const Arguments& arguments) {
  const Node& macro = *function.macro;
  const ScopePointer defined_in = function.scope.lock();
  if (!defined_in) throw Fault(str("the macro ", function.name, " was defined in a block that has ended"));
  if (arguments.positional.size() > macro.names.size()) {
    throw Fault(str("the macro ", function.name, " takes at most ", macro.names.size(), " arguments"));
  }
  const ScopePointer scope = scope_of(macro.parts[0], defined_in);
  for (size_t i = 0; i < arguments.positional.size(); ++i)
    scope->names.emplace(macro.names[i], arguments.positional[i]);
  for (const auto& [name, value] : arguments.named) {
    const bool known = std::find(macro.names.begin(), macro.names.end(), name) != macro.names.end();
    if (!known) throw Fault(str("the macro ", function.name, " has no parameter ", name));
    if (!scope->names.emplace(name, value).second) throw Fault(str("the argument ", name, " is given twice"));
  }
  for (size_t i = 0; i < macro.names.size(); ++i) {
    if (scope->names.contains(macro.names[i])) continue;
    const Node& standard = macro.parts[i + 1];
    Value value = standard.is(NodeKind::nothing) ? Value::undefined(str("parameter '", macro.names[i], "'"))
                                                 : evaluate(standard, scope);
    scope->names.emplace(macro.names[i], std::move(value));
  }
  std::string out;
  execute(macro.parts[0], scope, out);
  return out;
}

Value Interpreter::call_global(const std::string& name, const Arguments& arguments) {
  if (name == "range") return range(arguments);
  if (name == "dict") return Value::dict(dict_entries(arguments));
  if (name == "namespace") return make_namespace(arguments);
  if (name == "strftime_now") return strftime_now(arguments);
  throw Fault(str("the template refuses: ", to_text(required(bind(arguments, {"message"})[0]))));
}

Value Interpreter::make_namespace(const Arguments& arguments) {
  const auto space = std::make_shared<Namespace>();
  space->entries = dict_entries(arguments);
  for (const auto& [key, unused] : space->entries) {
    if (key.as_text() && key.as_text()->starts_with('_'))
      throw Fault("a namespace cannot hold names that begin with _");
  }
  namespaces_.push_back(space);
  return Value(space);
}

}  // namespace braid::jinja
