// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/error.h"
#include "text/jinja_grammar.h"

namespace braid::jinja {

namespace {

Node constant(int line, Value value) {
  Node node = make_node(NodeKind::constant, line);
  node.value = std::move(value);
  return node;
}

void arguments(TokenReader& tokens, Node& node) {
  tokens.expect_symbol("(");
  while (!tokens.at_symbol(")")) {
    if (tokens.at_symbol("*") || tokens.at_symbol("**")) tokens.fail("* and ** arguments are not supported");
    const bool named = tokens.current().kind == TokenKind::name && tokens.following().kind == TokenKind::symbol &&
                       tokens.following().text == "=";
    std::string argument_name = named ? tokens.take().text : "";
    if (named) tokens.take();
    if (!named && !node.names.empty() && !node.names.back().empty()) {
      tokens.fail("an argument by position after one by name");
    }
    node.parts.push_back(parse_expression(tokens));
    node.names.push_back(std::move(argument_name));
    node.depth = std::max(node.depth, node.parts.back().depth + 1);
    if (!tokens.skip_symbol(",")) break;
  }
  tokens.expect_symbol(")");
}

Node attribute(TokenReader& tokens, Node subject, int line) {
  if (tokens.current().kind == TokenKind::integer) {
    const Token number = tokens.take();
    return two(tokens, NodeKind::index, line, std::move(subject), constant(line, number.integer));
  }
  return checked(tokens, NodeKind::attribute, line, one(std::move(subject)), tokens.expect_any_name());
}

Node subscript(TokenReader& tokens) {
  const int line = tokens.current().line;
  const auto bound = [&] { return tokens.at_symbol(":") || tokens.at_symbol("]") ? Node() : parse_expression(tokens); };
  Node begin = bound();
  if (!tokens.skip_symbol(":")) return begin;
  Node end = bound();
  Node step = tokens.skip_symbol(":") ? bound() : Node();
  return three(tokens, NodeKind::slice, line, std::move(begin), std::move(end), std::move(step));
}

Node index(TokenReader& tokens, Node subject, int line) {
  if (tokens.at_symbol("]")) tokens.unexpected("an index");
  Node place = subscript(tokens);
  if (tokens.at_symbol(",")) tokens.fail("an index of several parts is not supported");
  tokens.expect_symbol("]");
  return two(tokens, NodeKind::index, line, std::move(subject), std::move(place));
}

Node call(TokenReader& tokens, Node callee) {
  Node node = checked(tokens, NodeKind::call, tokens.current().line, one(std::move(callee)));
  arguments(tokens, node);
  return node;
}

// The value after `is NAME` may stand without brackets: x is divisibleby 3.
bool at_bare_argument(const TokenReader& tokens) {
  const Token& token = tokens.current();
  if (token.kind == TokenKind::name) return token.text != "else" && token.text != "or" && token.text != "and";
  return token.kind == TokenKind::text || token.kind == TokenKind::integer || token.kind == TokenKind::real ||
         tokens.at_symbol("[") || tokens.at_symbol("{");
}

Node test(TokenReader& tokens, Node subject) {
  const int line = tokens.take().line;
  const bool negated = tokens.skip_name("not");
  std::string test_name = tokens.expect_any_name();
  Node node = checked(tokens, NodeKind::test, line, one(std::move(subject)), std::move(test_name));
  if (tokens.at_symbol("(")) {
    arguments(tokens, node);
  } else if (at_bare_argument(tokens)) {
    if (tokens.at_name("is")) tokens.fail("tests cannot be chained");
    node.parts.push_back(parse_followed(tokens, parse_primary(tokens, false)));
    node.names.emplace_back();
  }
  return negated ? checked(tokens, NodeKind::negate, line, one(std::move(node)), "not") : std::move(node);
}

Node name(TokenReader& tokens, bool attributes) {
  const Token token = tokens.take();
  const std::string& word = token.text;
  if (word == "true" || word == "True") return constant(token.line, true);
  if (word == "false" || word == "False") return constant(token.line, false);
  if (word == "none" || word == "None") return constant(token.line, None{});
  Node node = make_node(NodeKind::name, token.line, {}, word);
  if (!attributes || !tokens.skip_symbol(".")) return node;
  return checked(tokens, NodeKind::attribute, token.line, one(std::move(node)), tokens.expect_any_name());
}

Node text(TokenReader& tokens) {
  const int line = tokens.current().line;
  std::string joined;
  while (tokens.current().kind == TokenKind::text) joined += tokens.take().text;
  return constant(line, joined);
}

std::vector<Node> parts_until(TokenReader& tokens, const char* end, bool pairs) {
  std::vector<Node> parts;
  while (!tokens.at_symbol(end)) {
    parts.push_back(parse_expression(tokens));
    if (pairs) {
      tokens.expect_symbol(":");
      parts.push_back(parse_expression(tokens));
    }
    if (!tokens.skip_symbol(",")) break;
  }
  tokens.expect_symbol(end);
  return parts;
}

Node bracketed(TokenReader& tokens) {
  const DepthGuard guard(tokens);
  const int line = tokens.current().line;
  if (tokens.skip_symbol("(")) {
    Node inside = tuple_of(tokens, true, true);
    tokens.expect_symbol(")");
    return inside;
  }
  if (tokens.skip_symbol("[")) return checked(tokens, NodeKind::list, line, parts_until(tokens, "]", false));
  if (tokens.skip_symbol("{")) return checked(tokens, NodeKind::dict, line, parts_until(tokens, "}", true));
  tokens.unexpected("an expression");
}

}  // namespace

Node parse_primary(TokenReader& tokens, bool attributes) {
  const Token token = tokens.current();
  switch (token.kind) {
    case TokenKind::name: return name(tokens, attributes);
    case TokenKind::text: return text(tokens);
    case TokenKind::integer: tokens.take(); return constant(token.line, token.integer);
    case TokenKind::real: tokens.take(); return constant(token.line, token.real);
    default: return bracketed(tokens);
  }
}

Node parse_one_filter(TokenReader& tokens, Node subject) {
  const int line = tokens.current().line;
  std::string filter_name = tokens.expect_any_name();
  Node node = checked(tokens, NodeKind::filter, line, one(std::move(subject)), std::move(filter_name));
  if (tokens.at_symbol("(")) arguments(tokens, node);
  return node;
}

Node parse_followed(TokenReader& tokens, Node value) {
  while (true) {
    const int line = tokens.current().line;
    if (tokens.skip_symbol(".")) {
      value = attribute(tokens, std::move(value), line);
    } else if (tokens.skip_symbol("[")) {
      value = index(tokens, std::move(value), line);
    } else if (tokens.at_symbol("(")) {
      value = call(tokens, std::move(value));
    } else {
      return value;
    }
  }
}

Node filtered(TokenReader& tokens, Node value) {
  while (true) {
    if (tokens.skip_symbol("|")) {
      value = parse_one_filter(tokens, std::move(value));
    } else if (tokens.at_name("is")) {
      value = test(tokens, std::move(value));
    } else if (tokens.at_symbol("(")) {
      value = call(tokens, std::move(value));
    } else {
      return value;
    }
  }
}

}  // namespace braid::jinja
