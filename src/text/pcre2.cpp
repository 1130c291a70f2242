// SPDX-License-Identifier: Apache-2.0
#include "text/pcre2.h"

#include "base/error.h"

namespace braid {

namespace {

struct Compiled {
  Pcre2Handle<pcre2_code> code;
  int problem = 0;
  size_t at = 0;
};

Compiled compile(const std::string& pattern, uint32_t options) {
  const Pcre2Handle<pcre2_compile_context> context(pcre2_compile_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  Compiled compiled;
  const auto* text = reinterpret_cast<PCRE2_SPTR>(pattern.data());
  const uint32_t all = PCRE2_UTF | options | (options & PCRE2_LITERAL ? 0 : PCRE2_UCP | PCRE2_MULTILINE);
  compiled.code.reset(pcre2_compile(text, pattern.size(), all, &compiled.problem, &compiled.at, context.get()));
  return compiled;
}

}  // namespace

Pcre2Handle<pcre2_code> pcre2_compile_text(const std::string& pattern, uint32_t options) {
  Compiled compiled = compile(pattern, options);
  if (compiled.code) return std::move(compiled.code);
  unsigned char reason[256] = {};
  pcre2_get_error_message(compiled.problem, reason, sizeof reason);
  throw Error(str("not a pattern that can be used: ", reinterpret_cast<const char*>(reason)));
}

bool pcre2_compiles(const std::string& pattern) { return compile(pattern, 0).code != nullptr; }

}  // namespace braid
