// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_parser.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja_names.h"

namespace braid::jinja {

namespace {

constexpr int max_block_depth = 60;

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::end: return "the end of the template";
    case TokenKind::data: return "text";
    case TokenKind::variable_begin: return "'{{'";
    case TokenKind::variable_end: return "'}}'";
    case TokenKind::block_begin: return "'{%'";
    case TokenKind::block_end: return "'%}'";
    case TokenKind::text: return str("the text '", token.text, "'");
    case TokenKind::integer: return str(token.integer);
    case TokenKind::real: return str(token.real);
    case TokenKind::name:
    case TokenKind::symbol: break;
  }
  return str("'", token.text, "'");
}

class Statements {
 public:
  explicit Statements(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  // Up to one of these tags, whose name is the current token then; no names: up to the template's end.
  Node block(std::initializer_list<const char*> ends) {
    Node node = make_node(NodeKind::block, tokens_.current().line);
    if (++depth_ > max_block_depth) tokens_.fail(str("blocks nested more than ", max_block_depth, " deep"));
    while (tokens_.current().kind != TokenKind::end) {
      if (tokens_.current().kind == TokenKind::block_begin) {
        tokens_.take();
        if (at_any(ends)) break;
        add(node, statement());
        end_tag();
      } else {
        add(node, text_or_output());
      }
    }
    if (ends.size() > 0 && tokens_.current().kind == TokenKind::end)
      tokens_.unexpected(str("{% ", *(ends.end() - 1), " %}"));
    --depth_;
    return node;
  }

 private:
  static void add(Node& node, Node part) {
    node.depth = std::max(node.depth, part.depth + 1);
    node.parts.push_back(std::move(part));
  }

  bool at_any(std::initializer_list<const char*> names) const {
    return std::any_of(names.begin(), names.end(), [this](const char* name) { return tokens_.at_name(name); });
  }

  void end_tag() { tokens_.expect(TokenKind::block_end, "'%}'"); }

  Node text_or_output() {
    const Token token = tokens_.take();
    if (token.kind == TokenKind::data) {
      Node node = make_node(NodeKind::data, token.line);
      node.value = Value(token.text);
      return node;
    }
    Node node = make_node(NodeKind::output, token.line);
    Node shown = parse_tuple(tokens_);
    // Output escapes nothing here, so that printing a safe text is printing it.
    if (shown.is(NodeKind::filter) && shown.text == "safe") shown = Node(std::move(shown.parts[0]));
    add(node, std::move(shown));
    tokens_.expect(TokenKind::variable_end, "'}}'");
    return node;
  }

  // The body of a block tag and its end tag, but for the end tag's %}.
  Node body(const char* end) {
    tokens_.skip_symbol(":");
    end_tag();
    Node node = block({end});
    tokens_.take();
    return node;
  }

  Node statement() {
    const Token tag = tokens_.current();
    if (tag.kind != TokenKind::name) tokens_.unexpected("the name of a tag");
    tokens_.take();
    if (tag.text == "for") return loop(tag.line);
    if (tag.text == "if") return branch(tag.line);
    if (tag.text == "set") return assignment(tag.line);
    if (tag.text == "macro") return macro(tag.line);
    if (tag.text == "with") return with(tag.line);
    if (tag.text == "filter") return filter_block(tag.line);
    if (tag.text == "break" || tag.text == "continue") return jump(tag);
    if (tag.text == "print") return print(tag.line);
    if (tag.text == "generation") {
      Node node = make_node(NodeKind::scope, tag.line);
      add(node, without_loops([this] { return body("endgeneration"); }));
      return node;
    }
    throw SyntaxFault{tag.line, str("the tag {% ", tag.text, " %} has no meaning here or is not supported")};
  }

  Node loop(int line) {
    Node node = make_node(NodeKind::loop, line);
    add(node, parse_target(tokens_, false));
    tokens_.expect_name("in");
    add(node, parse_tuple(tokens_, false));
    add(node, tokens_.skip_name("if") ? parse_expression(tokens_) : Node());
    if (tokens_.at_name("recursive")) tokens_.fail("recursive loops are not supported");
    tokens_.skip_symbol(":");
    end_tag();
    ++loops_;
    add(node, block({"else", "endfor"}));
    --loops_;
    const bool has_else = tokens_.take().text == "else";
    add(node, has_else ? body("endfor") : Node());
    return node;
  }

  Node branch(int line) {
    Node node = make_node(NodeKind::branch, line);
    std::string tag = "elif";
    while (tag == "elif") {
      add(node, parse_tuple(tokens_, false));
      tokens_.skip_symbol(":");
      end_tag();
      add(node, block({"elif", "else", "endif"}));
      tag = tokens_.take().text;
    }
    if (tag == "else") add(node, body("endif"));
    return node;
  }

  Node assignment(int line) {
    Node target = parse_target(tokens_, true);
    if (tokens_.skip_symbol("=")) {
      Node node = make_node(NodeKind::assign, line);
      add(node, std::move(target));
      add(node, parse_tuple(tokens_));
      return node;
    }
    Node node = make_node(NodeKind::assign_block, line);
    add(node, std::move(target));
    add(node, parse_filter_chain(tokens_));
    add(node, body("endset"));
    return node;
  }

  Node macro(int line) {
    Node node = make_node(NodeKind::macro, line, {}, tokens_.expect_any_name());
    std::vector<Node> defaults;
    tokens_.expect_symbol("(");
    while (!tokens_.at_symbol(")")) {
      node.names.push_back(tokens_.expect_any_name());
      const bool has_default = tokens_.skip_symbol("=");
      if (!has_default && !defaults.empty() && !defaults.back().is(NodeKind::nothing)) {
        tokens_.fail("a parameter without default after one with");
      }
      defaults.push_back(has_default ? parse_expression(tokens_) : Node());
      if (!tokens_.skip_symbol(",")) break;
    }
    tokens_.expect_symbol(")");
    add(node, without_loops([this] { return body("endmacro"); }));
    for (Node& value : defaults) add(node, std::move(value));
    return node;
  }

  Node with(int line) {
    Node node = make_node(NodeKind::with, line);
    std::vector<Node> pairs;
    while (tokens_.current().kind != TokenKind::block_end) {
      pairs.push_back(parse_target(tokens_, false));
      tokens_.expect_symbol("=");
      pairs.push_back(parse_expression(tokens_));
      if (!tokens_.skip_symbol(",")) break;
    }
    add(node, body("endwith"));
    for (Node& part : pairs) add(node, std::move(part));
    return node;
  }

  Node filter_block(int line) {
    Node chain = parse_one_filter(tokens_, make_node(NodeKind::captured, line));
    while (tokens_.skip_symbol("|")) chain = parse_one_filter(tokens_, std::move(chain));
    Node node = make_node(NodeKind::filter_block, line);
    add(node, std::move(chain));
    add(node, body("endfilter"));
    return node;
  }

  Node jump(const Token& tag) {
    if (loops_ == 0) throw SyntaxFault{tag.line, str("{% ", tag.text, " %} outside of a loop")};
    return make_node(tag.text == "break" ? NodeKind::break_loop : NodeKind::continue_loop, tag.line);
  }

  Node print(int line) {
    Node node = make_node(NodeKind::block, line);
    while (tokens_.current().kind != TokenKind::block_end) {
      Node output = make_node(NodeKind::output, line);
      add(output, parse_expression(tokens_));
      add(node, std::move(output));
      if (!tokens_.skip_symbol(",")) break;
    }
    return node;
  }

  // A body that runs by itself: break and continue do not reach the loops around it.
  template <class Parse>
  Node without_loops(const Parse& parse_body) {
    const int outer = std::exchange(loops_, 0);
    Node node = parse_body();
    loops_ = outer;
    return node;
  }

  TokenReader tokens_;
  int loops_ = 0, depth_ = 0;
};

}  // namespace

Token TokenReader::take() {
  const Token token = tokens_[at_];
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool TokenReader::at_symbol(const char* symbol) const {
  return current().kind == TokenKind::symbol && current().text == symbol;
}

bool TokenReader::at_name(const char* name) const {
  return current().kind == TokenKind::name && current().text == name;
}

bool TokenReader::skip_symbol(const char* symbol) {
  if (!at_symbol(symbol)) return false;
  take();
  return true;
}

bool TokenReader::skip_name(const char* name) {
  if (!at_name(name)) return false;
  take();
  return true;
}

void TokenReader::expect_symbol(const char* symbol) {
  if (!skip_symbol(symbol)) unexpected(str("'", symbol, "'"));
}

void TokenReader::expect_name(const char* name) {
  if (!skip_name(name)) unexpected(str("'", name, "'"));
}

void TokenReader::expect(TokenKind kind, const char* description) {
  if (current().kind != kind) unexpected(description);
  take();
}

std::string TokenReader::expect_any_name() {
  if (current().kind != TokenKind::name) unexpected("a name");
  return take().text;
}

void TokenReader::enter() {
  if (++depth_ > max_parse_depth) fail(str("an expression nested more than ", max_parse_depth, " deep"));
}

void TokenReader::fail(const std::string& message) const { throw SyntaxFault{current().line, message}; }

void TokenReader::unexpected(const std::string& wanted) const {
  fail(str("expected ", wanted, ", found ", describe(current())));
}

Node make_node(NodeKind kind, int line, std::vector<Node> parts, std::string text) {
  Node node;
  node.kind = kind;
  node.line = line;
  for (const Node& part : parts) node.depth = std::max(node.depth, part.depth + 1);
  node.parts = std::move(parts);
  node.text = std::move(text);
  return node;
}

Node parse(const std::string& source) {
  Statements statements(tokenize(source));
  Node block = statements.block({});
  find_hidden_names(block);
  return block;
}

}  // namespace braid::jinja
