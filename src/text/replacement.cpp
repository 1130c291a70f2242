// SPDX-License-Identifier: Apache-2.0
#include "text/replacement.h"

#include "base/error.h"
#include "text/utf8.h"

namespace braid {

Pattern read_pattern(const JsonField& pattern) {
  const auto literal = pattern.find("String"), regex = pattern.find("Regex");
  if (!literal == !regex) pattern.refuse("expected {\"String\": …} or {\"Regex\": …}");
  try {
    return literal ? Pattern::literal(literal->text()) : Pattern::regex(regex->text());
  } catch (const UsageError&) {
    throw;
  } catch (const Error& problem) {
    pattern.refuse(problem.what());
  }
}

std::string read_character(const JsonField& field) {
  const std::string& text = field.text();
  if (text.empty() || last_code_point_at(text) != 0)
    field.refuse(str("expected one character, found ", in_quotes(text)));
  return text;
}

Replacement Replacement::read(const JsonField& component) {
  return {read_pattern(component.at("pattern")), component.at("content").text()};
}

void Replacement::append(std::string_view text, MatchScratch& scratch, std::string& out) const {
  if (text.empty()) return;  // in Hugging Face's, nothing is found in nothing
  size_t copied = 0;
  pattern.for_each(text, scratch, [&](Span match) {
    out.append(text, copied, match.begin - copied);
    out.append(content);
    copied = match.end;
  });
  out.append(text.substr(copied));
}

}  // namespace braid
