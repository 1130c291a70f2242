// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_names.h"

#include <set>

namespace braid::jinja {

namespace {

// Names of one block with names of its own, in the order in which the block mentions them.
struct Names {
  const Names* outer = nullptr;
  std::set<std::string> mentioned, stored, hidden;

  bool knows(const std::string& name) const { return mentioned.contains(name) || (outer && outer->knows(name)); }

  void load(const std::string& name) {
    if (!knows(name)) mentioned.insert(name);
  }

  void store(const std::string& name) {
    stored.insert(name);
    const bool known = knows(name);
    mentioned.insert(name);
    if (!known) hidden.insert(name);
  }

  void store_parameter(const std::string& name) {
    stored.insert(name);
    mentioned.insert(name);
  }
};

void load_all(const Node& expression, Names& names) {
  if (expression.is(NodeKind::name)) names.load(expression.text);
  for (const Node& part : expression.parts) load_all(part, names);
}

// A target; parameters of a loop begin with a value.
void store_all(const Node& target, Names& names, bool parameter) {
  if (target.is(NodeKind::tuple)) {
    for (const Node& part : target.parts) store_all(part, names, parameter);
  } else if (target.is(NodeKind::attribute)) {
    load_all(target, names);
  } else {
    parameter ? names.store_parameter(target.text) : names.store(target.text);
  }
}

void visit(const Node& statement, Names& names);

// What a branch stores first may be looked up outside, for the branch may not be taken.
void merge(Names& names, const std::vector<Names>& branches) {
  const std::set<std::string> before = names.stored;
  for (const Names& branch : branches) {
    names.mentioned.insert(branch.mentioned.begin(), branch.mentioned.end());
    names.stored.insert(branch.stored.begin(), branch.stored.end());
  }
  for (const std::string& name : names.stored) {
    if (!before.contains(name)) names.hidden.erase(name);
  }
}

// From the condition at `part` on; what follows it counts as one branch, as elif does in Jinja.
void visit_branch(const Node& node, size_t part, Names& names) {
  load_all(node.parts[part], names);
  std::vector<Names> branches = {names, names};
  visit(node.parts[part + 1], branches[0]);
  const size_t next = part + 2;
  if (next + 1 < node.parts.size()) {
    visit_branch(node, next, branches[1]);
  } else if (next < node.parts.size()) {
    visit(node.parts[next], branches[1]);
  }
  merge(names, branches);
}

// Inner blocks with names of their own are not looked into.
void visit(const Node& statement, Names& names) {
  switch (statement.kind) {
    case NodeKind::block:
      for (const Node& part : statement.parts) visit(part, names);
      break;
    case NodeKind::branch: visit_branch(statement, 0, names); break;
    case NodeKind::loop: load_all(statement.parts[1], names); break;
    case NodeKind::assign:
      load_all(statement.parts[1], names);
      store_all(statement.parts[0], names, false);
      break;
    case NodeKind::assign_block: store_all(statement.parts[0], names, false); break;
    case NodeKind::macro: names.store(statement.text); break;
    case NodeKind::filter_block: load_all(statement.parts[0], names); break;
    case NodeKind::with:
      for (size_t i = 2; i < statement.parts.size(); i += 2) load_all(statement.parts[i], names);
      break;
    case NodeKind::output: load_all(statement.parts[0], names); break;
    default: break;
  }
}

void enter(Node& statement, const Names& names);

void enter_parts(Node& node, const Names& names) {
  for (Node& part : node.parts) enter(part, names);
}

// A block with names of its own; `names` has its parameters.
void own(Node& block, Names names) {
  visit(block, names);
  block.hidden.assign(names.hidden.begin(), names.hidden.end());
  enter_parts(block, names);
}

void own_loop(Node& loop, const Names& outer) {
  Names names{&outer, {}, {}, {}};
  names.store_parameter("loop");
  store_all(loop.parts[0], names, true);
  own(loop.parts[3], names);
  if (!loop.parts[4].is(NodeKind::nothing)) own(loop.parts[4], Names{&outer, {}, {}, {}});
}

void own_macro(Node& macro, const Names& outer) {
  Names names{&outer, {}, {}, {}};
  for (const std::string& parameter : macro.names) names.store_parameter(parameter);
  for (size_t i = 1; i < macro.parts.size(); ++i) load_all(macro.parts[i], names);
  own(macro.parts[0], names);
}

void own_with(Node& with, const Names& outer) {
  Names names{&outer, {}, {}, {}};
  for (size_t i = 1; i < with.parts.size(); i += 2) store_all(with.parts[i], names, true);
  own(with.parts[0], names);
}

// Goes into the blocks of a statement whose surroundings are known.
void enter(Node& statement, const Names& names) {
  switch (statement.kind) {
    case NodeKind::block:
    case NodeKind::branch: enter_parts(statement, names); break;
    case NodeKind::loop: own_loop(statement, names); break;
    case NodeKind::macro: own_macro(statement, names); break;
    case NodeKind::with: own_with(statement, names); break;
    case NodeKind::assign_block:
    case NodeKind::filter_block:
    case NodeKind::scope: own(statement.parts.back(), Names{&names, {}, {}, {}}); break;
    default: break;
  }
}

}  // namespace

void find_hidden_names(Node& template_block) { own(template_block, Names{}); }

}  // namespace braid::jinja
