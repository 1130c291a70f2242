// SPDX-License-Identifier: Apache-2.0
#include "text/pattern.h"

#include <new>

#include "base/error.h"
#include "text/pattern_syntax.h"

namespace braid {

namespace {

constexpr size_t first_stack = 32 << 10, largest_stack = 8 << 20;  // of PCRE2's machine code, bytes

}  // namespace

MatchScratch::MatchScratch()
    : stack_(pcre2_jit_stack_create(first_stack, largest_stack, nullptr)),
      data_(pcre2_match_data_create(1, nullptr)),
      context_(pcre2_match_context_create(nullptr)) {
  if (!data_ || !context_) throw std::bad_alloc();
  if (stack_) pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
}

Pattern::Pattern(Pcre2Handle<pcre2_code> code)
    : code_(code.release(), Pcre2Free()), compiled_(pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE) == 0) {}

Pattern Pattern::regex(const std::string& pattern) { return pcre2(to_pcre2_syntax(pattern)); }

Pattern Pattern::pcre2(const std::string& pattern) { return Pattern(pcre2_compile_text(pattern)); }

Pattern Pattern::literal(const std::string& text) {
  Pattern pattern(pcre2_compile_text(text, PCRE2_LITERAL));
  pattern.literal_ = text;
  return pattern;
}

bool Pattern::find(std::string_view text, size_t from, MatchScratch& scratch, Span& match) const {
  if (!literal_.empty()) {
    const size_t at = text.find(literal_, from);
    match = {at, at + literal_.size()};
    return at != std::string_view::npos;
  }
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const auto search = [&](auto* match_function, uint32_t options) {
    return match_function(code_.get(), subject, text.size(), from, options, scratch.data(), scratch.context());
  };
  int found = compiled_ ? search(pcre2_jit_match, 0) : PCRE2_ERROR_JIT_STACKLIMIT;
  if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = search(pcre2_match, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT);
  if (found == PCRE2_ERROR_NOMATCH) return false;
  if (found < 0) {
    unsigned char reason[256] = {};
    pcre2_get_error_message(found, reason, sizeof reason);
    throw Error(str("a pattern of the tokenizer failed on a text of ", text.size(),
                    " bytes: ", reinterpret_cast<const char*>(reason)));
  }
  const size_t* bounds = pcre2_get_ovector_pointer(scratch.data());
  match = {bounds[0], bounds[1]};
  return true;
}

}  // namespace braid
