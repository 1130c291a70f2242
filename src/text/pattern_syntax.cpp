// SPDX-License-Identifier: Apache-2.0
#include "text/pattern_syntax.h"

#include <cctype>
#include <string_view>

#include "base/error.h"
#include "text/pcre2.h"

namespace braid {

const char* const white_space_ranges =
    R"(\x09-\x0D\x20\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
const char* const other_than_white_space_ranges =
    R"(\x00-\x08\x0E-\x1F\x21-\x{84}\x{86}-\x{9F}\x{A1}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027})"
    R"(\x{202A}-\x{202E}\x{2030}-\x{205E}\x{2060}-\x{2FFF}\x{3001}-\x{10FFFF})";

// Category L in UnicodeData.txt 16.0.0, not assigned in 14.0.0.
const char* const newer_letters =
    R"(\x{1C89}\x{1C8A}\x{A7CB}-\x{A7CD}\x{A7DA}-\x{A7DC}\x{105C0}-\x{105F3}\x{10D4A}-\x{10D65}\x{10D6F}-\x{10D85})"
    R"(\x{10EC2}-\x{10EC4}\x{1123F}\x{11240}\x{11380}-\x{11389}\x{1138B}\x{1138E}\x{11390}-\x{113B5}\x{113B7}\x{113D1})"
    R"(\x{113D3}\x{11BC0}-\x{11BE0}\x{11F02}\x{11F04}-\x{11F10}\x{11F12}-\x{11F33}\x{1342F}\x{13441}-\x{13446})"
    R"(\x{13460}-\x{143FA}\x{16100}-\x{1611D}\x{16D40}-\x{16D6C}\x{18CFF}\x{1B132}\x{1B155}\x{1DF25}-\x{1DF2A})"
    R"(\x{1E030}-\x{1E06D}\x{1E4D0}-\x{1E4EB}\x{1E5D0}-\x{1E5ED}\x{1E5F0}\x{2B739}\x{2EBF0}-\x{2EE5D})"
    R"(\x{31350}-\x{323AF})";

namespace {

std::string word_items() { return str(R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\xB2\xB3\xB9\xBC-\xBE)", newer_letters); }

// Category N in UnicodeData.txt 16.0.0, not assigned in 14.0.0.
constexpr const char* newer_numbers =
    R"(\x{10D40}-\x{10D49}\x{116D0}-\x{116E3}\x{11BF0}-\x{11BF9}\x{11F50}-\x{11F59}\x{16130}-\x{16139})"
    R"(\x{16D70}-\x{16D79}\x{1CCF0}-\x{1CCF9}\x{1D2C0}-\x{1D2D3}\x{1E4F0}-\x{1E4F9}\x{1E5F1}-\x{1E5FA})";

bool is_script(const std::string& name) { return pcre2_compiles("\\p{sc:" + name + "}"); }

class Rewriter {
 public:
  explicit Rewriter(std::string_view pattern) : in_(pattern) {}

  std::string run() {
    while (!done()) step();
    return std::move(out_);
  }

 private:
  bool done() const { return at_ >= in_.size(); }
  char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  bool starts(std::string_view word) const { return in_.substr(at_).starts_with(word); }
  void copy(size_t count = 1) {
    out_.append(in_.substr(at_, count));
    at_ += count;
  }
  [[noreturn]] static void refuse(const std::string& what) { throw Error(str(what, " is not supported in a pattern")); }

  void step() {
    switch (peek()) {
      case '\\':
        return escape(false);
      case '[':
        return character_class();
      case '(':
        return group();
      case '{':
        return interval();
      default:
        return copy();
    }
  }

  // Ruby reads {2}+ as a repeated repetition, PCRE2 as a possessive one.
  void interval() {
    if (starts("{,")) refuse("'{,'");
    size_t end = at_ + 1;
    while (end < in_.size() && (std::isdigit(static_cast<unsigned char>(in_[end])) || in_[end] == ',')) ++end;
    const bool is_interval = end > at_ + 1 && end < in_.size() && in_[end] == '}';
    if (is_interval && end + 1 < in_.size() && in_[end + 1] == '+') refuse("'}+'");
    copy();
  }

  void group() {
    for (const std::string_view kind : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"}) {
      if (starts(kind)) return copy(kind.size());
    }
    if (starts("(?i)") && at_ == 0) return copy(4);  // elsewhere the two disagree about alternatives that follow
    if (starts("(?") || starts("(*")) refuse(str("the group '", in_.substr(at_, 4), "'"));
    copy();
  }

  void character_class() {
    copy();
    if (peek() == '^') copy();
    if (peek() == ']') refuse("']' first in a class");
    while (peek() != ']') {
      if (done()) throw Error("a class has no end");
      if (peek() == '[') refuse("'[' in a class");
      if (starts("&&")) refuse("'&&' in a class");
      peek() == '\\' ? escape(true) : copy();
    }
    copy();
  }

  // What belongs into a class, or is one by itself.
  void items(const std::string& text, bool in_class) { out_ += in_class ? text : "[" + text + "]"; }
  void all_but(const std::string& text, const std::string& written, bool in_class) {
    if (in_class) refuse(written + " in a class");
    out_ += "[^" + text + "]";
  }

  void escape(bool in_class) {
    const char kind = peek(1);
    if (kind == 'p' || kind == 'P') return property(in_class);
    if (kind == 'u' || kind == 'x') return code_point();
    at_ += 2;
    if (kind == 's') return items(white_space_ranges, in_class);
    if (kind == 'S') return items(in_class ? other_than_white_space_ranges : str("^", white_space_ranges), in_class);
    if (kind == 'w') return items(word_items(), in_class);
    if (kind == 'W') return all_but(word_items(), "\\W", in_class);
    if (kind == 'v') return void(out_ += "\\x0B");
    const bool same = std::string_view("dDrntfae").find(kind) != std::string_view::npos;
    const bool anchor = !in_class && (kind == 'A' || kind == 'z');
    const bool sign = static_cast<unsigned char>(kind) < 0x80 && std::ispunct(static_cast<unsigned char>(kind));
    if (kind == '\0' || !(same || anchor || sign || kind == ' ')) refuse(str("'\\", kind ? str(kind) : "", "'"));
    out_ += str('\\', kind);
  }

  void property(bool in_class) {
    const size_t end = in_.find('}', at_);
    if (peek(2) != '{' || end == std::string_view::npos) refuse("\\p without a name in braces");
    bool inverse = peek(1) == 'P';
    std::string name(in_.substr(at_ + 3, end - at_ - 3));
    at_ = end + 1;
    if (name.starts_with('^')) inverse = !inverse, name.erase(0, 1);
    if (name.size() > 2 && is_script(name)) name = "sc:" + name;
    if (name != "L" && name != "N") return void(out_ += str(inverse ? "\\P{" : "\\p{", name, "}"));
    const std::string all = str("\\p{", name, "}", name == "L" ? newer_letters : newer_numbers);
    inverse ? all_but(all, "\\P{" + name + "}", in_class) : items(all, in_class);
  }

  // \xHH, \x{H…} or \uHHHH
  void code_point() {
    const bool braces = peek(2) == '{';
    const size_t from = at_ + (braces ? 3 : 2), most = braces ? 8 : peek(1) == 'u' ? 4 : 2;
    size_t end = from;
    while (end < in_.size() && end - from < most && std::isxdigit(static_cast<unsigned char>(in_[end]))) ++end;
    const bool whole = braces ? end > from && end < in_.size() && in_[end] == '}' : end - from == most;
    if (!whole || (braces && peek(1) == 'u')) refuse(str("'", in_.substr(at_, 3), "'"));
    out_ += str("\\x{", in_.substr(from, end - from), "}");
    at_ = end + braces;
  }

  std::string_view in_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string to_pcre2_syntax(const std::string& pattern) { return Rewriter(pattern).run(); }

}  // namespace braid
