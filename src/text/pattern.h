// SPDX-License-Identifier: Apache-2.0
// Finding a regular expression or a plain text in text. Patterns are const and used by many threads; what a search
// writes to is a MatchScratch, one for each thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/pcre2.h"
#include "text/utf8.h"

namespace braid {

struct Span {
  size_t begin = 0, end = 0;  // bytes
  bool empty() const { return begin == end; }
};

class MatchScratch {
 public:
  MatchScratch();
  pcre2_match_data* data() const { return data_.get(); }
  pcre2_match_context* context() const { return context_.get(); }

 private:
  Pcre2Handle<pcre2_jit_stack> stack_;
  Pcre2Handle<pcre2_match_data> data_;
  Pcre2Handle<pcre2_match_context> context_;
};

class Pattern {
 public:
  static Pattern regex(const std::string& pattern);  // in Oniguruma's Ruby syntax; Error: why it cannot be used
  static Pattern pcre2(const std::string& pattern);  // in PCRE2's own
  static Pattern literal(const std::string& text);   // "" lies between all code points

  // The first match that begins at `from` or later. `text` is valid UTF-8. Error when PCRE2 gives up.
  bool find(std::string_view text, size_t from, MatchScratch& scratch, Span& match) const;

  // All matches from left to right. An empty one that touches the match before it is none, as in Oniguruma's find_iter.
  template <class Visit>
  void for_each(std::string_view text, MatchScratch& scratch, const Visit& visit) const {
    size_t from = 0, previous_end = std::string_view::npos;
    for (Span match; from <= text.size() && find(text, from, scratch, match);) {
      if (match.empty() && match.end == previous_end) {
        from += from < text.size() ? code_point_bytes(static_cast<unsigned char>(text[from])) : 1;
        continue;
      }
      from = previous_end = match.end;
      visit(match);
    }
  }

 private:
  explicit Pattern(Pcre2Handle<pcre2_code> code);
  std::shared_ptr<pcre2_code> code_;
  std::string literal_;    // searched for without PCRE2 unless empty
  bool compiled_ = false;  // to machine code
};

}  // namespace braid
