// SPDX-License-Identifier: Apache-2.0
// From a template's text to its nodes.
#pragma once

#include <algorithm>
#include <string>

#include "text/jinja_lexer.h"
#include "text/jinja_node.h"

namespace braid::jinja {

// A block with all statements. SyntaxFault for what Jinja refuses, for what Braid does not know (include, import,
// extends, block, call, recursive loops, * and ** arguments) and for expressions nested more than max_parse_depth deep.
Node parse(const std::string& source);

constexpr int max_parse_depth = 200;

// The tokens and the place among them.
class TokenReader {
 public:
  explicit TokenReader(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& following() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take();
  bool at_symbol(const char* symbol) const;
  bool at_name(const char* name) const;
  bool skip_symbol(const char* symbol);  // whether it was there
  bool skip_name(const char* name);
  void expect_symbol(const char* symbol);
  void expect_name(const char* name);
  void expect(TokenKind kind, const char* description);
  std::string expect_any_name();
  void enter();  // one level of nesting; SyntaxFault beyond 200
  void leave() { --depth_; }
  [[noreturn]] void fail(const std::string& message) const;
  [[noreturn]] void unexpected(const std::string& wanted) const;

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

Node make_node(NodeKind kind, int line, std::vector<Node> parts = {}, std::string text = "");

// Expressions separated by commas are a tuple; where `conditional` is off, `if` ends the expression.
Node parse_tuple(TokenReader& tokens, bool conditional = true);
Node parse_expression(TokenReader& tokens);
// Names, tuples of names and, for `set`, attributes of a namespace.
Node parse_target(TokenReader& tokens, bool attributes);
// | filter | filter … on what the block before it captured; nothing when there is none.
Node parse_filter_chain(TokenReader& tokens);
Node parse_one_filter(TokenReader& tokens, Node subject);

}  // namespace braid::jinja
