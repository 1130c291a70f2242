// SPDX-License-Identifier: Apache-2.0
// The interpreter's statements; expressions are in jinja_evaluator.cpp.
#include "text/jinja_interpreter.h"

#include <utility>

#include "base/error.h"
#include "text/jinja_filters.h"
#include "text/jinja_print.h"

namespace braid::jinja {

ScopePointer scope_of(const Node& block, const ScopePointer& outer) {
  const auto scope = std::make_shared<Scope>(Scope{outer, {}});
  for (const std::string& name : block.hidden) scope->names.emplace(name, Value::undefined("'" + name + "'"));
  return scope;
}

Interpreter::Interpreter(Entries variables) : variables_(std::make_shared<Scope>()) {
  for (auto& [name, value] : variables) variables_->names.emplace(*name.as_text(), std::move(value));
}

Interpreter::~Interpreter() {
  for (const auto& space : namespaces_) space->entries.clear();
}

std::string Interpreter::run(const Node& template_block) {
  std::string out;
  execute(template_block, scope_of(template_block, variables_), out);
  return out;
}

Interpreter::Flow Interpreter::execute(const Node& node, const ScopePointer& scope, std::string& out) {
  try {
    enter();
    const Flow flow = execute_kind(node, scope, out);
    --depth_;
    return flow;
  } catch (const Fault& fault) {
    throw RunFault{node.line, fault.what()};
  }
}

Interpreter::Flow Interpreter::execute_kind(const Node& node, const ScopePointer& scope, std::string& out) {
  switch (node.kind) {
    case NodeKind::block: return run_block(node, scope, out);
    case NodeKind::data: append(out, *node.value.as_text()); break;
    case NodeKind::output: append(out, to_text(charged(evaluate(node.parts[0], scope)))); break;
    case NodeKind::branch: return run_branch(node, scope, out);
    case NodeKind::loop: return run_loop(node, scope, out);
    case NodeKind::assign: assign(node.parts[0], evaluate(node.parts[1], scope), scope); break;
    case NodeKind::assign_block:
    case NodeKind::filter_block: return run_captured(node, scope, out);
    case NodeKind::macro: define_macro(node, scope); break;
    case NodeKind::with: return run_with(node, scope, out);
    case NodeKind::scope: return execute(node.parts[0], scope_of(node.parts[0], scope), out);
    case NodeKind::break_loop: return Flow::broken;
    case NodeKind::continue_loop: return Flow::continued;
    default: break;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::run_block(const Node& node, const ScopePointer& scope, std::string& out) {
  for (const Node& part : node.parts) {
    const Flow flow = execute(part, scope, out);
    if (flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::run_branch(const Node& node, const ScopePointer& scope, std::string& out) {
  size_t i = 0;
  for (; i + 1 < node.parts.size(); i += 2) {
    if (truthy(evaluate(node.parts[i], scope))) return execute(node.parts[i + 1], scope, out);
  }
  return i < node.parts.size() ? execute(node.parts[i], scope, out) : Flow::normal;
}

Items Interpreter::loop_items(const Node& node, const ScopePointer& scope) {
  Items items = iterate(charged(evaluate(node.parts[1], scope)));
  if (node.parts[2].is(NodeKind::nothing)) return items;
  Items kept;
  for (const Value& item : items) {
    const auto inner = std::make_shared<Scope>(Scope{scope, {}});
    assign(node.parts[0], item, inner);
    if (truthy(evaluate(node.parts[2], inner))) kept.push_back(item);
  }
  return kept;
}

Interpreter::Flow Interpreter::run_loop(const Node& node, const ScopePointer& scope, std::string& out) {
  const auto loop = std::make_shared<Loop>();
  loop->items = loop_items(node, scope);
  bool completed = false;  // one pass at least, to its end: Jinja's condition for leaving out the else block
  for (; loop->index < loop->items.size(); ++loop->index) {
    const ScopePointer inner = scope_of(node.parts[3], scope);
    inner->names.emplace("loop", Value(std::shared_ptr<const Loop>(loop)));
    assign(node.parts[0], loop->items[loop->index], inner);
    const Flow flow = execute(node.parts[3], inner, out);
    completed = completed || flow == Flow::normal;
    if (flow == Flow::broken) break;
  }
  const Node& otherwise = node.parts[4];
  return completed || otherwise.is(NodeKind::nothing) ? Flow::normal
                                                      : execute(otherwise, scope_of(otherwise, scope), out);
}

Interpreter::Flow Interpreter::run_with(const Node& node, const ScopePointer& scope, std::string& out) {
  const ScopePointer inner = scope_of(node.parts[0], scope);
  for (size_t i = 1; i + 1 < node.parts.size(); i += 2)
    assign(node.parts[i], evaluate(node.parts[i + 1], scope), inner);
  return execute(node.parts[0], inner, out);
}

// {% set x %}…{% endset %} and {% filter f %}…{% endfilter %}.
Interpreter::Flow Interpreter::run_captured(const Node& node, const ScopePointer& scope, std::string& out) {
  const bool assigns = node.is(NodeKind::assign_block);
  const Node& chain = node.parts[assigns ? 1 : 0];
  std::string text;
  const Flow flow = execute(node.parts.back(), scope_of(node.parts.back(), scope), text);
  if (flow != Flow::normal) return flow;
  const Value value = filter_captured(chain, std::move(text), scope);
  if (assigns) {
    assign(node.parts[0], value, scope);
  } else {
    append(out, to_text(value));
  }
  return Flow::normal;
}

Value Interpreter::filter_captured(const Node& chain, std::string text, const ScopePointer& scope) {
  if (chain.is(NodeKind::nothing)) return Value(std::move(text));
  const std::string* outer = std::exchange(captured_, &text);
  const Value value = evaluate(chain, scope);
  captured_ = outer;
  return value;
}

void Interpreter::define_macro(const Node& node, const ScopePointer& scope) {
  const auto function = std::make_shared<Function>();
  function->name = node.text;
  function->macro = &node;
  function->scope = scope;
  scope->names.insert_or_assign(node.text, Value(std::shared_ptr<const Function>(function)));
}

void Interpreter::assign(const Node& target, const Value& value, const ScopePointer& scope) {
  if (target.is(NodeKind::tuple)) {
    unpack(target, value, scope);
  } else if (target.is(NodeKind::attribute)) {
    assign_attribute(target, value, scope);
  } else {
    scope->names.insert_or_assign(target.text, value);
  }
}

void Interpreter::assign_attribute(const Node& target, const Value& value, const ScopePointer& scope) {
  const Value owner = evaluate(target.parts[0], scope);
  Namespace* space = owner.as_namespace();
  if (!space) throw Fault(str("cannot set an attribute of a ", type_name(owner), "; only of a namespace()"));
  if (target.text.starts_with('_'))
    throw Fault(str("a namespace cannot hold '", target.text, "', which begins with _"));
  put(space->entries, Value(target.text), value);
}

void Interpreter::unpack(const Node& target, const Value& value, const ScopePointer& scope) {
  const Items items = iterate(value);
  if (items.size() != target.parts.size()) {
    throw Fault(str("expected ", target.parts.size(), " values to unpack, found ", items.size()));
  }
  for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i], scope);
}

}  // namespace braid::jinja
