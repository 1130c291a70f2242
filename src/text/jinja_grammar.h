// SPDX-License-Identifier: Apache-2.0
// What the files of the expression parser share. Precedence is Jinja's, from loose to tight: if, or, and, not,
// comparisons and in, + -, ~, * / // %, **, signs (jinja_expressions.cpp), then what follows a value: . [ ] ( ) | and
// is (jinja_primary.cpp).
#pragma once

#include <string>
#include <vector>

#include "text/jinja_parser.h"

namespace braid::jinja {

// Counts how deep the parser is in itself.
struct DepthGuard {
  explicit DepthGuard(TokenReader& tokens) : tokens(tokens) { tokens.enter(); }
  ~DepthGuard() { tokens.leave(); }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;
  TokenReader& tokens;
};

std::vector<Node> one(Node part);
// Nodes with one, two or three parts; SyntaxFault when they are nested too deep.
Node checked(TokenReader& tokens, NodeKind kind, int line, std::vector<Node> parts, std::string text = "");
Node two(TokenReader& tokens, NodeKind kind, int line, Node a, Node b, std::string text = "");
Node three(TokenReader& tokens, NodeKind kind, int line, Node a, Node b, Node c);

Node tuple_of(TokenReader& tokens, bool conditional, bool in_parentheses = false);
// A name, literal or something in brackets; with `attributes` also the target namespace.name.
Node parse_primary(TokenReader& tokens, bool attributes);
Node parse_followed(TokenReader& tokens, Node value);  // . [ ] ( )
Node filtered(TokenReader& tokens, Node value);        // | and is

}  // namespace braid::jinja
