// SPDX-License-Identifier: Apache-2.0
#include "text/split.h"

#include <algorithm>

#include "base/error.h"

namespace braid {

namespace {

struct Part {
  Span span;
  bool matches;
};

// All of a piece, in matches and what lies between them.
template <class Visit>
void for_each_part(const PatternSplit& split, std::string_view text, Span piece, MatchScratch& scratch,
                   const Visit& visit) {
  size_t end = piece.begin;
  split.pattern.for_each(text.substr(piece.begin, piece.end - piece.begin), scratch, [&](Span match) {
    const Span found{piece.begin + match.begin, piece.begin + match.end};
    if (found.begin != end) visit(Span{end, found.begin}, split.invert);
    visit(found, !split.invert);
    end = found.end;
  });
  if (end != piece.end) visit(Span{end, piece.end}, split.invert);
}

bool joins_previous(SplitBehavior behavior, bool matches, bool previous_matches) {
  return behavior == SplitBehavior::contiguous ? matches == previous_matches : matches && !previous_matches;
}

// From left to right for merged_with_previous and contiguous, from right to left for merged_with_next.
void join(std::vector<Part>& parts, SplitBehavior behavior) {
  const bool from_right = behavior == SplitBehavior::merged_with_next;
  if (from_right) std::reverse(parts.begin(), parts.end());
  bool previous_matches = false;
  std::vector<Part> joined;
  for (const Part& part : parts) {
    if (!joined.empty() && joins_previous(behavior, part.matches, previous_matches)) {
      Span& last = joined.back().span;
      last = {std::min(last.begin, part.span.begin), std::max(last.end, part.span.end)};
    } else {
      joined.push_back(part);
    }
    previous_matches = part.matches;
  }
  if (from_right) std::reverse(joined.begin(), joined.end());
  parts = std::move(joined);
}

}  // namespace

SplitBehavior read_split_behavior(const JsonField& behavior) {
  const std::pair<const char*, SplitBehavior> names[] = {
      {"Removed", SplitBehavior::removed},
      {"Isolated", SplitBehavior::isolated},
      {"MergedWithPrevious", SplitBehavior::merged_with_previous},
      {"MergedWithNext", SplitBehavior::merged_with_next},
      {"Contiguous", SplitBehavior::contiguous},
  };
  for (const auto& [name, value] : names) {
    if (behavior.text() == name) return value;
  }
  behavior.refuse(str(in_quotes(behavior.text()),
                      ": expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous"));
}

void PatternSplit::cut(std::string_view text, Span piece, MatchScratch& scratch, std::vector<Span>& out) const {
  const bool removes = behavior == SplitBehavior::removed;
  if (removes || behavior == SplitBehavior::isolated) {
    for_each_part(*this, text, piece, scratch, [&](Span span, bool matches) {
      if (!span.empty() && !(removes && matches)) out.push_back(span);
    });
    return;
  }
  std::vector<Part> parts;
  for_each_part(*this, text, piece, scratch, [&](Span span, bool matches) { parts.push_back({span, matches}); });
  join(parts, behavior);
  for (const Part& part : parts) {
    if (!part.span.empty()) out.push_back(part.span);
  }
}

}  // namespace braid
