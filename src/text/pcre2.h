// SPDX-License-Identifier: Apache-2.0
// PCRE2's header for texts of bytes, and the one call that several files make.
#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <memory>
#include <string>

namespace braid {

struct Pcre2Free {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};
template <class T>
using Pcre2Handle = std::unique_ptr<T, Pcre2Free>;

// With UTF, UCP, MULTILINE, newline LF and `options`. Error with PCRE2's reason.
Pcre2Handle<pcre2_code> pcre2_compile_text(const std::string& pattern, uint32_t options = 0);
bool pcre2_compiles(const std::string& pattern);

}  // namespace braid
