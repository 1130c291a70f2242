// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_print.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "text/jinja_unicode.h"

namespace braid::jinja {

namespace {

std::string hex(const char* format, char32_t point) {
  std::array<char, 16> buffer;
  std::snprintf(buffer.data(), buffer.size(), format, static_cast<unsigned>(point));
  return buffer.data();
}

std::string repr_point(char32_t point, char32_t quote) {
  if (point == '\n') return "\\n";
  if (point == '\r') return "\\r";
  if (point == '\t') return "\\t";
  std::string text;
  if (!is_printable(point)) return hex(point < 0x100 ? "\\x%02x" : point < 0x10000 ? "\\u%04x" : "\\U%08x", point);
  if (point == '\\' || point == quote) text = "\\";
  append_point(text, point);
  return text;
}

std::string repr_text(const std::string& text) {
  const bool doubled = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = doubled ? '"' : '\'';
  std::string out(1, quote);
  for (const char32_t point : code_points(text)) append(out, repr_point(point, static_cast<char32_t>(quote)));
  return out + quote;
}

std::string joined_reprs(const Items& items) {
  std::string out;
  for (const Value& item : items) append(out, (out.empty() ? "" : ", ") + repr(item));
  return out;
}

std::string repr_sequence(const Sequence& sequence) {
  const std::string inside = joined_reprs(sequence.items);
  switch (sequence.shape) {
    case Shape::list: return "[" + inside + "]";
    case Shape::tuple: return "(" + inside + (sequence.items.size() == 1 ? ",)" : ")");
    case Shape::dict_keys: return "dict_keys([" + inside + "])";
    case Shape::dict_values: return "dict_values([" + inside + "])";
    case Shape::dict_items: return "dict_items([" + inside + "])";
    case Shape::range:
    case Shape::iterator: break;
  }
  throw Fault(str("a ", sequence.shape == Shape::range ? "range" : "generator",
                  " has no text; | list makes a list of it"));
}

std::string repr_dict(const Dict& dict) {
  std::string out;
  for (const auto& [key, value] : dict.entries) {
    append(out, (out.empty() ? "" : ", ") + repr(key) + ": " + repr(value));
  }
  return "{" + out + "}";
}

std::string json_escape(char32_t point, bool ascii) {
  switch (point) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    case '\f': return "\\f";
    case '\b': return "\\b";
    default: break;
  }
  if (point < 0x20 || (ascii && point >= 0x7F && point < 0x10000)) return hex("\\u%04x", point);
  if (ascii && point >= 0x10000) {
    const char32_t rest = point - 0x10000;
    return hex("\\u%04x", 0xD800 + (rest >> 10)) + hex("\\u%04x", 0xDC00 + (rest & 0x3FF));
  }
  std::string text;
  append_point(text, point);
  return text;
}

std::string json_text(const std::string& text, bool ascii) {
  std::string out = "\"";
  for (const char32_t point : code_points(text)) append(out, json_escape(point, ascii));
  return out + "\"";
}

std::string json_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return repr(value);
}

std::string json_scalar(const Value& value, bool ascii) {
  if (value.is_none()) return "null";
  if (const bool* flag = value.as_boolean()) return *flag ? "true" : "false";
  if (const auto integer = value.as_integer()) return std::to_string(*integer);
  if (const double* real = value.as_real()) return json_number(*real);
  if (const std::string* text = value.as_text()) return json_text(*text, ascii);
  throw Fault(str("a ", type_name(value), " cannot be written as JSON"));
}

class JsonPrinter {
 public:
  explicit JsonPrinter(const JsonStyle& style) : style_(style) {}

  void print(const Value& value) {
    if (const Dict* dict = value.as_dict()) {
      print_dict(*dict);
    } else if (const Sequence* sequence = list_of(value)) {
      print_parts('[', ']', sequence->items.size(), [&](size_t i) { print(sequence->items[i]); });
    } else {
      append(out, json_scalar(value, style_.ascii));
    }
  }
  std::string out;

 private:
  static const Sequence* list_of(const Value& value) {
    const Sequence* sequence = value.as_sequence();
    return sequence && (sequence->shape == Shape::list || sequence->shape == Shape::tuple) ? sequence : nullptr;
  }

  void print_dict(const Dict& dict) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sorted) {
      std::stable_sort(entries.begin(), entries.end(), [](auto* a, auto* b) { return less(a->first, b->first); });
    }
    print_parts('{', '}', entries.size(), [&](size_t i) {
      append(out, json_key(entries[i]->first) + style_.after_key);
      print(entries[i]->second);
    });
  }

  std::string json_key(const Value& key) const {
    if (const std::string* text = key.as_text()) return json_text(*text, style_.ascii);
    return "\"" + json_scalar(key, style_.ascii) + "\"";
  }

  template <class PrintPart>
  void print_parts(char open, char close, size_t count, const PrintPart& print_part) {
    append(out, std::string(1, open));
    ++level_;
    for (size_t i = 0; i < count; ++i) {
      if (i > 0) append(out, style_.between_items);
      new_line();
      print_part(i);
    }
    --level_;
    if (count > 0) new_line();
    append(out, std::string(1, close));
  }

  void new_line() {
    if (!style_.indent) return;
    append(out, "\n");
    for (size_t i = 0; i < level_; ++i) append(out, *style_.indent);
  }

  const JsonStyle& style_;
  size_t level_ = 0;
};

}  // namespace

std::string repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 64> buffer;
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific).ptr;
  const std::string scientific(buffer.data(), end);
  const int exponent = std::stoi(scientific.substr(scientific.find('e') + 1));
  if (exponent < -4 || exponent >= 16) return scientific;
  const auto fixed_end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed).ptr;
  const std::string fixed(buffer.data(), fixed_end);
  return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
}

std::string repr(const Value& value) {
  const std::string* text = value.as_text();
  if (value.as_undefined()) return "Undefined";
  return text ? repr_text(*text) : to_text(value);
}

std::string to_text(const Value& value) {
  if (value.as_undefined()) return "";
  if (value.is_none()) return "None";
  if (const bool* flag = value.as_boolean()) return *flag ? "True" : "False";
  if (const auto integer = value.as_integer()) return std::to_string(*integer);
  if (const double* real = value.as_real()) return repr(*real);
  if (const std::string* text = value.as_text()) return *text;
  if (const Sequence* sequence = value.as_sequence()) return repr_sequence(*sequence);
  if (const Dict* dict = value.as_dict()) return repr_dict(*dict);
  throw Fault(str("a ", type_name(value), " has no text"));
}

std::string to_json(const Value& value, const JsonStyle& style) {
  JsonPrinter printer(style);
  printer.print(value);
  return std::move(printer.out);
}

}  // namespace braid::jinja
