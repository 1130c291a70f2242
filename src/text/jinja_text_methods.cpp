// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_text_methods.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "text/jinja_literals.h"
#include "text/jinja_methods.h"
#include "text/jinja_print.h"
#include "text/jinja_unicode.h"

namespace braid::jinja {

namespace {

using Method = Value (*)(const std::string& text, const Arguments& arguments);

template <Side side>
Value stripped(const std::string& text, const Arguments& arguments) {
  const auto bound = bind(arguments, {"chars"});
  return strip(text, side, text_or_null(bound[0]));
}

template <Case to>
Value in_case(const std::string& text, const Arguments& arguments) {
  bind(arguments, {});
  return change_case(text, to);
}

size_t word_end(const std::string& text, size_t at) {
  while (at < text.size() && leading_space(std::string_view(text).substr(at)) == 0) {
    do ++at;
    while (at < text.size() && (text[at] & 0xC0) == 0x80);
  }
  return at;
}

// Words between white space; what is left after `most` cuts is the last part.
Items split_at_space(const std::string& text, int64_t most) {
  Items parts;
  for (size_t at = leading_space(text); at < text.size(); --most) {
    const size_t end = most == 0 ? text.size() : word_end(text, at);
    parts.emplace_back(text.substr(at, end - at));
    at = end + leading_space(std::string_view(text).substr(end));
  }
  return parts;
}

Items split_at(const std::string& text, const std::string& separator, int64_t most) {
  if (separator.empty()) throw Fault("split: an empty separator");
  Items parts;
  size_t begin = 0;
  for (size_t end = text.find(separator); end != std::string::npos && most != 0; --most) {
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + separator.size();
    end = text.find(separator, begin);
  }
  parts.emplace_back(text.substr(begin));
  return parts;
}

Items split_from_right(const std::string& text, const std::string& separator, int64_t most) {
  if (separator.empty()) throw Fault("split: an empty separator");
  Items parts;
  size_t end = text.size();
  for (; most != 0; --most) {
    const size_t found = end < separator.size() ? std::string::npos : text.rfind(separator, end - separator.size());
    if (found == std::string::npos) break;
    parts.emplace_back(text.substr(found + separator.size(), end - found - separator.size()));
    end = found;
  }
  parts.emplace_back(text.substr(0, end));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool from_right>
Value split(const std::string& text, const Arguments& arguments) {
  const auto bound = bind(arguments, {"sep", "maxsplit"});
  const std::string* separator = text_or_null(bound[0]);
  const int64_t most = integer_or(bound[1], -1);
  if (separator) {
    return Value::list(from_right ? split_from_right(text, *separator, most) : split_at(text, *separator, most));
  }
  if (from_right && most >= 0) throw Fault("rsplit at white space with maxsplit is not supported");
  return Value::list(split_at_space(text, most));
}

Value splitlines(const std::string& text, const Arguments& arguments) {
  const auto bound = bind(arguments, {"keepends"});
  if (truth_or(bound[0], false)) throw Fault("splitlines with keepends is not supported");
  Items lines;
  for (const std::string& line : split_lines(text)) lines.emplace_back(line);
  return Value::list(std::move(lines));
}

// startswith and endswith take a text or a tuple of texts.
template <bool at_end>
Value has_affix(const std::string& text, const Arguments& arguments) {
  const auto bound = bind(arguments, {"affix"});
  const Value& affix = required(bound[0]);
  const auto fits = [&](const Value& value) {
    const std::string& part = required_text(value);
    return at_end ? text.ends_with(part) : text.starts_with(part);
  };
  const Sequence* sequence = affix.as_sequence();
  if (!sequence || sequence->shape != Shape::tuple) return fits(affix);
  return std::any_of(sequence->items.begin(), sequence->items.end(), fits);
}

template <bool at_end>
Value without_affix(const std::string& text, const Arguments& arguments) {
  const std::string affix = required_text(bind(arguments, {"affix"})[0]);
  if (at_end) return text.ends_with(affix) ? text.substr(0, text.size() - affix.size()) : text;
  return text.starts_with(affix) ? text.substr(affix.size()) : text;
}

Value replaced(const std::string& text, const Arguments& arguments) {
  const auto bound = bind(arguments, {"old", "new", "count"});
  return replace(text, required_text(bound[0]), required_text(bound[1]), integer_or(bound[2], -1));
}

Value joined(const std::string& text, const Arguments& arguments) {
  std::string out;
  bool first = true;
  for (const Value& item : iterate(required(bind(arguments, {"iterable"})[0]))) {
    if (!first) append(out, text);
    append(out, required_text(item));
    first = false;
  }
  return out;
}

// The place in code points, -1 when it is not there.
int64_t place(const std::string& text, size_t found) {
  return found == std::string::npos ? -1 : static_cast<int64_t>(count_points(text.substr(0, found)));
}

Value find_first(const std::string& text, const Arguments& arguments) {
  return place(text, text.find(required_text(bind(arguments, {"sub"})[0])));
}

Value find_last(const std::string& text, const Arguments& arguments) {
  return place(text, text.rfind(required_text(bind(arguments, {"sub"})[0])));
}

Value index(const std::string& text, const Arguments& arguments) {
  const Value found = find_first(text, arguments);
  if (*found.as_integer() < 0) throw Fault("index: the text is not in it");
  return found;
}

Value counted(const std::string& text, const Arguments& arguments) {
  const std::string part = required_text(bind(arguments, {"sub"})[0]);
  if (part.empty()) return static_cast<int64_t>(count_points(text) + 1);
  int64_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

// is… of every character of a text that is not empty. Fault where the answer needs tables beyond ASCII.
template <bool (*holds)(char c)>
Value every(const std::string& text, const Arguments& arguments) {
  bind(arguments, {});
  const auto ascii = [](char c) { return (c & 0x80) == 0; };
  if (!std::all_of(text.begin(), text.end(), ascii)) throw Fault("kinds of characters beyond ASCII are not supported");
  return !text.empty() && std::all_of(text.begin(), text.end(), holds);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_letter_or_digit(char c) { return is_letter(c) || is_digit(c); }
bool is_ascii_space(char c) { return is_space(static_cast<unsigned char>(c)); }

const std::map<std::string, Method, std::less<>>& methods() {
  static const std::map<std::string, Method, std::less<>> table = {
      {"strip", stripped<Side::both>}, {"lstrip", stripped<Side::left>}, {"rstrip", stripped<Side::right>},
      {"upper", in_case<Case::upper>}, {"lower", in_case<Case::lower>}, {"title", in_case<Case::title>},
      {"capitalize", in_case<Case::capitalize>}, {"split", split<false>}, {"rsplit", split<true>},
      {"splitlines", splitlines}, {"startswith", has_affix<false>}, {"endswith", has_affix<true>},
      {"removeprefix", without_affix<false>}, {"removesuffix", without_affix<true>}, {"replace", replaced},
      {"join", joined}, {"find", find_first}, {"rfind", find_last}, {"index", index}, {"count", counted},
      {"isdigit", every<is_digit>}, {"isalpha", every<is_letter>}, {"isalnum", every<is_letter_or_digit>},
      {"isspace", every<is_ascii_space>}};
  return table;
}

}  // namespace

const std::set<std::string, std::less<>>& text_attribute_names() {
  static const std::set<std::string, std::less<>> names = {
      "capitalize", "casefold", "center", "count", "encode", "endswith", "expandtabs", "find", "format", "format_map",
      "index", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric",
      "isprintable", "isspace", "istitle", "isupper", "join", "ljust", "lower", "lstrip", "maketrans", "partition",
      "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rjust", "rpartition", "rsplit", "rstrip", "split",
      "splitlines", "startswith", "strip", "swapcase", "title", "translate", "upper", "zfill"};
  return names;
}

bool is_text_method(const std::string& name) { return methods().contains(name); }

Value call_text_method(const std::string& text, const std::string& name, const Arguments& arguments) {
  return methods().find(name)->second(text, arguments);
}

std::string replace(const std::string& text, const std::string& old, const std::string& with, int64_t count) {
  std::string out;
  size_t begin = 0;
  for (; count != 0; --count) {
    size_t found = text.find(old, begin);
    if (found == std::string::npos) break;
    if (old.empty()) {  // before every character and at the end
      append(out, with);
      if (begin == text.size()) return out;
      found = begin + split_points(std::string_view(text).substr(begin, 4))[0].size();
      append(out, text.substr(begin, found - begin));
    } else {
      append(out, text.substr(begin, found - begin) + with);
    }
    begin = found + old.size();
  }
  append(out, text.substr(begin));
  return out;
}

}  // namespace braid::jinja
