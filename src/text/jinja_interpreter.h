// SPDX-License-Identifier: Apache-2.0
// Runs a parsed template. A run ends within bounds whatever the template says: of steps, of how deep it is in itself,
// and of the length of every text (max_weight).
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "text/jinja_arguments.h"
#include "text/jinja_node.h"

namespace braid::jinja {

// Names of one block; those that it does not have are looked up in the block around it.
struct Scope {
  std::shared_ptr<Scope> outer;
  std::unordered_map<std::string, Value> names;
};
using ScopePointer = std::shared_ptr<Scope>;
// The names of a block with names of its own, as it begins.
ScopePointer scope_of(const Node& block, const ScopePointer& outer);

// A Fault and the line of the node that it came from.
struct RunFault {
  int line;
  std::string message;
};

class Interpreter {
 public:
  explicit Interpreter(Entries variables);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // The rendered text. RunFault.
  std::string run(const Node& template_block);

 private:
  enum class Flow { normal, broken, continued };

  Flow execute(const Node& node, const ScopePointer& scope, std::string& out);
  Flow execute_kind(const Node& node, const ScopePointer& scope, std::string& out);
  Flow run_block(const Node& node, const ScopePointer& scope, std::string& out);
  Flow run_branch(const Node& node, const ScopePointer& scope, std::string& out);
  Flow run_loop(const Node& node, const ScopePointer& scope, std::string& out);
  Flow run_with(const Node& node, const ScopePointer& scope, std::string& out);
  Flow run_captured(const Node& node, const ScopePointer& scope, std::string& out);
  Items loop_items(const Node& node, const ScopePointer& scope);
  void define_macro(const Node& node, const ScopePointer& scope);
  void assign(const Node& target, const Value& value, const ScopePointer& scope);
  void assign_attribute(const Node& target, const Value& value, const ScopePointer& scope);
  void unpack(const Node& target, const Value& value, const ScopePointer& scope);
  Value filter_captured(const Node& chain, std::string text, const ScopePointer& scope);

  Value evaluate(const Node& node, const ScopePointer& scope);
  Value evaluate_kind(const Node& node, const ScopePointer& scope);
  Value evaluate_name(const Node& node, const ScopePointer& scope);
  Value evaluate_parts(const Node& node, const ScopePointer& scope);
  Value evaluate_dict(const Node& node, const ScopePointer& scope);
  Value evaluate_index(const Node& node, const ScopePointer& scope);
  Value evaluate_comparison(const Node& node, const ScopePointer& scope);
  Value evaluate_conjunction(const Node& node, const ScopePointer& scope);
  Value evaluate_negation(const Node& node, const ScopePointer& scope);
  Value evaluate_concatenation(const Node& node, const ScopePointer& scope);
  Value evaluate_conditional(const Node& node, const ScopePointer& scope);
  Value evaluate_call(const Node& node, const ScopePointer& scope);
  Arguments evaluate_arguments(const Node& node, const ScopePointer& scope);
  Value call(const Value& callee, const Arguments& arguments);
  Value call_macro(const Function& function, const Arguments& arguments);
  Value call_global(const std::string& name, const Arguments& arguments);
  Value make_namespace(const Arguments& arguments);

  void enter();  // a node: one step, one deeper
  void charge(size_t steps);
  // What reading or making this value costs.
  const Value& charged(const Value& value);
  Value charged(Value&& value);

  ScopePointer variables_;
  // Namespaces can hold themselves: emptied at the end, so that none keeps another alive.
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  const std::string* captured_ = nullptr;
  size_t steps_ = 0, depth_ = 0;
};

}  // namespace braid::jinja
