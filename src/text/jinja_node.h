// SPDX-License-Identifier: Apache-2.0
// A parsed template: one kind of node, whose parts mean what its kind says.
#pragma once

#include <string>
#include <vector>

#include "text/jinja_value.h"

namespace braid::jinja {

enum class NodeKind {
  // Statements. [x] is optional: it may be of kind `nothing`.
  block,       // parts: statements
  data,        // value: the text
  output,      // parts: expression
  branch,      // parts: condition, block, condition, block, …, [block of else]
  loop,        // parts: target, iterable, [filter], block, [block of else]
  assign,      // parts: target, expression
  assign_block,  // parts: target, [filter chain], block
  macro,       // text: name; names: parameters; parts: block, then a default or nothing for each parameter
  filter_block,  // parts: filter chain, block
  with,        // parts: block, then target, expression, target, expression, …
  scope,       // parts: block ({% generation %})
  break_loop,
  continue_loop,
  nothing,
  // Expressions.
  constant,    // value
  name,        // text
  attribute,   // text: attribute; parts: subject; as a target: text of a namespace
  index,       // parts: subject, index
  slice,       // parts: [begin], [end], [step]
  call,        // parts: callee, arguments …; names: of the arguments, "" for those by position
  filter,      // text: filter; parts: subject (`captured` at the start of a chain), arguments …; names
  test,        // text: test; parts: subject, arguments …; names
  captured,    // the text of the block that a filter chain works on
  negate,      // text: not, - or +; parts: operand
  binary,      // text: operator; parts: two operands
  comparison,  // names: operators; parts: operands, one more
  conjunction,  // text: and, or; parts: two operands
  concatenation,  // parts: operands of ~
  conditional,  // parts: condition, then, [else]
  list,
  tuple,
  dict,        // parts: key, value, key, value, …
};

struct Node {
  NodeKind kind = NodeKind::nothing;
  int line = 1;
  std::string text;
  std::vector<Node> parts;
  std::vector<std::string> names;
  Value value;
  std::vector<std::string> hidden;  // of a block with names of its own: those that are undefined at its beginning
  int depth = 1;  // of nested parts

  bool is(NodeKind other) const { return kind == other; }
};

}  // namespace braid::jinja
