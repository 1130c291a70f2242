// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/error.h"
#include "text/jinja_grammar.h"

namespace braid::jinja {

namespace {

bool at_tuple_end(const TokenReader& tokens) {
  const TokenKind kind = tokens.current().kind;
  return kind == TokenKind::variable_end || kind == TokenKind::block_end || tokens.at_symbol(")");
}

// The operator here, if it is one of these: symbols, and the words `and` and `or`.
std::string skip_operator(TokenReader& tokens, std::initializer_list<const char*> operators) {
  for (const char* symbol : operators) {
    if (tokens.skip_symbol(symbol) || tokens.skip_name(symbol)) return symbol;
  }
  return "";
}

template <class ParseOperand>
Node left_associative(TokenReader& tokens, std::initializer_list<const char*> operators, NodeKind kind,
                      const ParseOperand& operand) {
  Node left = operand();
  while (true) {
    const int line = tokens.current().line;
    const std::string symbol = skip_operator(tokens, operators);
    if (symbol.empty()) return left;
    left = two(tokens, kind, line, std::move(left), operand(), symbol);
  }
}

std::string skip_comparison(TokenReader& tokens) {
  if (tokens.skip_name("in")) return "in";
  if (tokens.at_name("not") && tokens.following().kind == TokenKind::name && tokens.following().text == "in") {
    tokens.take();
    tokens.take();
    return "not in";
  }
  return skip_operator(tokens, {"==", "!=", "<=", ">=", "<", ">"});
}

Node signed_value(TokenReader& tokens, bool with_filters);

Node product(TokenReader& tokens) {
  return left_associative(tokens, {"*", "//", "/", "%"}, NodeKind::binary, [&] {
    return left_associative(tokens, {"**"}, NodeKind::binary, [&] { return signed_value(tokens, true); });
  });
}

Node concatenation(TokenReader& tokens) {
  const int line = tokens.current().line;
  std::vector<Node> parts = one(product(tokens));
  while (tokens.skip_symbol("~")) parts.push_back(product(tokens));
  return parts.size() == 1 ? std::move(parts[0]) : checked(tokens, NodeKind::concatenation, line, std::move(parts));
}

Node sum(TokenReader& tokens) {
  return left_associative(tokens, {"+", "-"}, NodeKind::binary, [&] { return concatenation(tokens); });
}

Node comparison(TokenReader& tokens) {
  const int line = tokens.current().line;
  std::vector<Node> parts = one(sum(tokens));
  std::vector<std::string> operators;
  for (std::string symbol = skip_comparison(tokens); !symbol.empty(); symbol = skip_comparison(tokens)) {
    operators.push_back(symbol);
    parts.push_back(sum(tokens));
  }
  if (operators.empty()) return std::move(parts[0]);
  Node node = checked(tokens, NodeKind::comparison, line, std::move(parts));
  node.names = std::move(operators);
  return node;
}

Node negation(TokenReader& tokens) {
  const DepthGuard guard(tokens);
  const int line = tokens.current().line;
  return tokens.skip_name("not") ? checked(tokens, NodeKind::negate, line, one(negation(tokens)), "not")
                                 : comparison(tokens);
}

Node signed_value(TokenReader& tokens, bool with_filters) {
  const DepthGuard guard(tokens);
  const int line = tokens.current().line;
  const std::string sign = skip_operator(tokens, {"-", "+"});
  Node value = sign.empty() ? parse_primary(tokens, false)
                            : checked(tokens, NodeKind::negate, line, one(signed_value(tokens, false)), sign);
  value = parse_followed(tokens, std::move(value));
  return with_filters ? filtered(tokens, std::move(value)) : std::move(value);
}

Node disjunction(TokenReader& tokens) {
  return left_associative(tokens, {"or"}, NodeKind::conjunction, [&] {
    return left_associative(tokens, {"and"}, NodeKind::conjunction, [&] { return negation(tokens); });
  });
}

void require_target(const Node& target, const TokenReader& tokens) {
  if (target.is(NodeKind::tuple)) {
    for (const Node& part : target.parts) require_target(part, tokens);
  } else if (!target.is(NodeKind::name) && !target.is(NodeKind::attribute)) {
    tokens.fail("expected a name to assign to");
  } else if (target.text == "loop" && target.is(NodeKind::name)) {
    tokens.fail("the name loop cannot be assigned to");
  }
}

}  // namespace

std::vector<Node> one(Node part) {
  std::vector<Node> parts;
  parts.push_back(std::move(part));
  return parts;
}

Node checked(TokenReader& tokens, NodeKind kind, int line, std::vector<Node> parts, std::string text) {
  Node node = make_node(kind, line, std::move(parts), std::move(text));
  if (node.depth > max_parse_depth) tokens.fail(str("an expression nested more than ", max_parse_depth, " deep"));
  return node;
}

Node two(TokenReader& tokens, NodeKind kind, int line, Node a, Node b, std::string text) {
  std::vector<Node> parts = one(std::move(a));
  parts.push_back(std::move(b));
  return checked(tokens, kind, line, std::move(parts), std::move(text));
}

Node three(TokenReader& tokens, NodeKind kind, int line, Node a, Node b, Node c) {
  std::vector<Node> parts = one(std::move(a));
  parts.push_back(std::move(b));
  parts.push_back(std::move(c));
  return checked(tokens, kind, line, std::move(parts));
}

Node tuple_of(TokenReader& tokens, bool conditional, bool in_parentheses) {
  const int line = tokens.current().line;
  std::vector<Node> parts;
  bool comma = false;
  while (!at_tuple_end(tokens)) {
    parts.push_back(conditional ? parse_expression(tokens) : disjunction(tokens));
    if (!tokens.skip_symbol(",")) break;
    comma = true;
  }
  if (!comma && parts.size() == 1) return std::move(parts[0]);
  if (parts.empty() && !in_parentheses) tokens.unexpected("an expression");
  return checked(tokens, NodeKind::tuple, line, std::move(parts));
}

Node parse_expression(TokenReader& tokens) {
  const DepthGuard guard(tokens);
  const int line = tokens.current().line;
  Node value = disjunction(tokens);
  while (tokens.skip_name("if")) {
    Node condition = disjunction(tokens);
    Node otherwise = tokens.skip_name("else") ? parse_expression(tokens) : Node();
    value = three(tokens, NodeKind::conditional, line, std::move(condition), std::move(value), std::move(otherwise));
  }
  return value;
}

Node parse_tuple(TokenReader& tokens, bool conditional) { return tuple_of(tokens, conditional); }

Node parse_filter_chain(TokenReader& tokens) {
  Node chain;
  while (tokens.skip_symbol("|")) {
    Node subject = chain.is(NodeKind::nothing) ? make_node(NodeKind::captured, chain.line) : std::move(chain);
    chain = parse_one_filter(tokens, std::move(subject));
  }
  return chain;
}

Node parse_target(TokenReader& tokens, bool attributes) {
  const int line = tokens.current().line;
  std::vector<Node> parts;
  bool comma = false;
  while (tokens.current().kind != TokenKind::block_end && !tokens.at_name("in") && !tokens.at_symbol("=")) {
    parts.push_back(parse_primary(tokens, attributes));
    require_target(parts.back(), tokens);
    if (!tokens.skip_symbol(",")) break;
    comma = true;
  }
  if (parts.empty()) tokens.unexpected("a name");
  return comma ? make_node(NodeKind::tuple, line, std::move(parts)) : std::move(parts[0]);
}

}  // namespace braid::jinja
