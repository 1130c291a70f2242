// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_value.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "text/jinja_unicode.h"

namespace braid::jinja {

namespace {

constexpr size_t scalar_weight = 8;

size_t nesting(const Value& value) {
  if (const Sequence* sequence = value.as_sequence()) return sequence->nesting;
  if (const Dict* dict = value.as_dict()) return dict->nesting;
  return 0;
}

// Adds a part to a container that is being made.
void count(const Value& part, size_t& total, size_t& deepest) {
  total += weight(part);
  deepest = std::max(deepest, nesting(part) + 1);
  if (total > max_weight) throw Fault(str("a value of more than ", max_weight >> 20, " MiB"));
  if (deepest > max_nesting) throw Fault(str("containers nested more than ", max_nesting, " deep"));
}

bool equal_items(const Items& a, const Items& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end(), equal); }

bool equal_dicts(const Entries& a, const Entries& b) {
  if (a.size() != b.size()) return false;
  return std::all_of(a.begin(), a.end(), [&](const auto& entry) {
    const Value* other = find(b, entry.first);
    return other && equal(entry.second, *other);
  });
}

// 64 bits of mantissa, so that every integer is exact (x86-64).
long double number(const Value& value) {
  const auto integer = value.as_integer();
  return integer ? static_cast<long double>(*integer) : static_cast<long double>(*value.as_real());
}

bool ordered_sequences(const Sequence* a, const Sequence* b) {
  return a && b && a->shape == b->shape && (a->shape == Shape::list || a->shape == Shape::tuple);
}

bool less_items(const Items& a, const Items& b) {
  const auto [x, y] = std::mismatch(a.begin(), a.end(), b.begin(), b.end(), equal);
  return y != b.end() && (x == a.end() || less(*x, *y));
}

const char* shape_name(Shape shape) {
  switch (shape) {
    case Shape::list: return "list";
    case Shape::tuple: return "tuple";
    case Shape::range: return "range";
    case Shape::dict_keys: return "dict_keys";
    case Shape::dict_values: return "dict_values";
    case Shape::dict_items: return "dict_items";
    case Shape::iterator: return "generator";
  }
  return "";
}

void require_hashable(const Value& key) {
  const Sequence* sequence = key.as_sequence();
  if (sequence && sequence->shape == Shape::tuple) {
    std::for_each(sequence->items.begin(), sequence->items.end(), require_hashable);
  } else if (key.as_dict() || (sequence && sequence->shape == Shape::list)) {
    throw Fault(str("a ", type_name(key), " cannot be a key"));
  }
}

}  // namespace

Value::Value(std::string x) : data_(std::make_shared<const std::string>(std::move(x))) {}

Value Value::sequence(Shape shape, Items items) {
  auto made = std::make_shared<Sequence>();
  for (const Value& item : items) count(item, made->weight, made->nesting);
  made->shape = shape;
  made->items = std::move(items);
  return Value(Data(std::move(made)));
}

Value Value::dict(Entries entries) {
  auto made = std::make_shared<Dict>();
  for (const auto& [key, value] : entries) {
    count(key, made->weight, made->nesting);
    count(value, made->weight, made->nesting);
  }
  made->entries = std::move(entries);
  return Value(Data(std::shared_ptr<const Dict>(std::move(made))));
}

std::optional<int64_t> Value::as_integer() const {
  if (const bool* flag = as_boolean()) return *flag ? 1 : 0;
  const auto* integer = std::get_if<int64_t>(&data_);
  return integer ? std::optional<int64_t>(*integer) : std::nullopt;
}

size_t weight(const Value& value) {
  if (const std::string* text = value.as_text()) return text->size() + scalar_weight;
  if (const Sequence* sequence = value.as_sequence()) return sequence->weight + scalar_weight;
  if (const Dict* dict = value.as_dict()) return dict->weight + scalar_weight;
  return scalar_weight;
}

std::string type_name(const Value& value) {
  if (value.as_undefined()) return "undefined value";
  if (value.is_none()) return "None";
  if (value.as_boolean()) return "bool";
  if (value.as_integer()) return "int";
  if (value.as_real()) return "float";
  if (value.as_text()) return "str";
  if (const Sequence* sequence = value.as_sequence()) return shape_name(sequence->shape);
  if (value.as_dict()) return "dict";
  if (value.as_namespace()) return "namespace";
  return value.as_loop() ? "loop" : "function";
}

bool truthy(const Value& value) {
  if (value.as_undefined() || value.is_none()) return false;
  if (value.is_number()) return number(value) != 0;
  if (const std::string* text = value.as_text()) return !text->empty();
  if (const Sequence* sequence = value.as_sequence()) {
    return sequence->shape == Shape::iterator || !sequence->items.empty();
  }
  if (const Dict* dict = value.as_dict()) return !dict->entries.empty();
  return true;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return number(a) == number(b);
  if (a.as_text() && b.as_text()) return *a.as_text() == *b.as_text();
  if (a.as_dict() && b.as_dict()) return equal_dicts(a.as_dict()->entries, b.as_dict()->entries);
  const Sequence *x = a.as_sequence(), *y = b.as_sequence();
  if (x && y) {
    const bool by_identity = x->shape == Shape::iterator || x->shape == Shape::dict_values;
    return x->shape == y->shape && (by_identity ? x == y : equal_items(x->items, y->items));
  }
  if (a.as_undefined() || a.is_none()) return a.as_undefined() ? b.as_undefined() != nullptr : b.is_none();
  const void* identity = a.as_namespace();
  if (a.as_function()) identity = a.as_function();
  return identity && (identity == b.as_namespace() || identity == b.as_function());
}

bool less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return number(a) < number(b);
  if (a.as_text() && b.as_text()) return *a.as_text() < *b.as_text();  // UTF-8 sorts as its code points do
  if (!ordered_sequences(a.as_sequence(), b.as_sequence())) {
    throw Fault(str(type_name(a), " and ", type_name(b), " have no order"));
  }
  return less_items(a.as_sequence()->items, b.as_sequence()->items);
}

const Value* find(const Entries& entries, const Value& key) {
  require_hashable(key);
  for (const auto& entry : entries) {
    if (equal(entry.first, key)) return &entry.second;
  }
  return nullptr;
}

void put(Entries& entries, Value key, Value value) {
  if (const Value* there = find(entries, key)) {
    *const_cast<Value*>(there) = std::move(value);
  } else {
    entries.emplace_back(std::move(key), std::move(value));
  }
}

Items iterate(const Value& value) {
  if (value.as_undefined()) return {};
  Items items;
  if (const std::string* text = value.as_text()) {
    for (const std::string& point : split_points(*text)) items.emplace_back(point);
  } else if (const Dict* dict = value.as_dict()) {
    for (const auto& [key, unused] : dict->entries) items.push_back(key);
  } else if (Sequence* sequence = value.as_sequence()) {
    if (sequence->shape != Shape::iterator) return sequence->items;
    items.assign(sequence->items.begin() + static_cast<std::ptrdiff_t>(sequence->next), sequence->items.end());
    sequence->next = sequence->items.size();
  } else {
    throw Fault(str("a ", type_name(value), " cannot be iterated"));
  }
  return items;
}

void append(std::string& text, const std::string& piece) {
  if (text.size() + piece.size() > max_weight) throw Fault(str("a text of more than ", max_weight >> 20, " MiB"));
  text += piece;
}

}  // namespace braid::jinja
