// SPDX-License-Identifier: Apache-2.0
// The values a chat template computes with: those of Python that Jinja shows to templates, with Python's rules for
// truth, equality and order. Lists and dicts never change once made (chat templates run in Jinja's immutable sandbox);
// the only thing that does is a namespace().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace braid::jinja {

// What is wrong with a template or its variables; the interpreter adds the line and makes a UsageError of it.
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A text or container that would be longer than this, written out, is refused: templates can double what they hold.
constexpr size_t max_weight = size_t{64} << 20;  // bytes
constexpr size_t max_nesting = 100;

class Value;
struct Node;
struct Scope;
using Items = std::vector<Value>;
using Entries = std::vector<std::pair<Value, Value>>;

struct Undefined {
  std::string hint;  // why it is undefined, for the message
};
struct None {};

// Which of Python's sequences it is. An iterator (what map, select and reverse give) is used up by reading.
enum class Shape { list, tuple, range, dict_keys, dict_values, dict_items, iterator };

struct Sequence;
struct Dict;
struct Namespace;
struct Loop;
struct Function;

class Value {
 public:
  Value() : data_(Undefined{}) {}
  Value(None) : data_(None{}) {}
  Value(bool x) : data_(x) {}
  Value(int64_t x) : data_(x) {}
  Value(double x) : data_(x) {}
  Value(std::string x);
  Value(const char* x) : Value(std::string(x)) {}
  static Value undefined(std::string hint) { return Value(Data(Undefined{std::move(hint)})); }
  static Value sequence(Shape shape, Items items);
  static Value list(Items items) { return sequence(Shape::list, std::move(items)); }
  static Value dict(Entries entries);
  explicit Value(std::shared_ptr<Namespace> x) : data_(std::move(x)) {}
  explicit Value(std::shared_ptr<const Loop> x) : data_(std::move(x)) {}
  explicit Value(std::shared_ptr<const Function> x) : data_(std::move(x)) {}

  // Null, or what the value is.
  const Undefined* as_undefined() const { return std::get_if<Undefined>(&data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  const bool* as_boolean() const { return std::get_if<bool>(&data_); }
  const double* as_real() const { return std::get_if<double>(&data_); }
  const std::string* as_text() const { return pointee<const std::string>(); }
  Sequence* as_sequence() const { return pointee<Sequence>(); }
  const Dict* as_dict() const { return pointee<const Dict>(); }
  Namespace* as_namespace() const { return pointee<Namespace>(); }
  const Loop* as_loop() const { return pointee<const Loop>(); }
  const Function* as_function() const { return pointee<const Function>(); }
  std::optional<int64_t> as_integer() const;  // a boolean is an integer too, as in Python
  bool is_number() const { return as_integer().has_value() || as_real() != nullptr; }

 private:
  using Data = std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>,
                            std::shared_ptr<Sequence>, std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
                            std::shared_ptr<const Loop>, std::shared_ptr<const Function>>;
  explicit Value(Data data) : data_(std::move(data)) {}
  template <class T>
  T* pointee() const {
    const auto* held = std::get_if<std::shared_ptr<T>>(&data_);
    return held ? held->get() : nullptr;
  }
  Data data_;
};

struct Sequence {
  Shape shape = Shape::list;
  Items items;
  size_t next = 0;  // of an iterator: what was not read yet
  size_t weight = 0, nesting = 1;
};
struct Dict {
  Entries entries;  // in the order of first insertion
  size_t weight = 0, nesting = 1;
};
struct Namespace {
  Entries entries;
};
struct Loop {
  Items items;
  size_t index = 0, depth = 1;
};
// A macro of the template, a method bound to its receiver, or one of Jinja's global functions.
struct Function {
  std::string name;
  const Node* macro = nullptr;
  std::weak_ptr<Scope> scope;
  std::optional<Value> receiver;
};

size_t weight(const Value& value);  // bytes, about as many as its text has
std::string type_name(const Value& value);  // as Python calls it
bool truthy(const Value& value);
bool equal(const Value& a, const Value& b);
bool less(const Value& a, const Value& b);  // Fault for kinds that Python does not order
// Null when there is none of that key. Fault for keys that Python cannot hash.
const Value* find(const Entries& entries, const Value& key);
void put(Entries& entries, Value key, Value value);  // replaces in place
// What a for loop visits; uses up an iterator. Fault when the value cannot be iterated.
Items iterate(const Value& value);
// The text grows by a piece; Fault beyond max_weight.
void append(std::string& text, const std::string& piece);

}  // namespace braid::jinja
