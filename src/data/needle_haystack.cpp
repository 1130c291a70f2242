// SPDX-License-Identifier: Apache-2.0
#include "data/needle_haystack.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/error.h"

namespace braid {

namespace {

constexpr int sentences_that_may_not_fit = 8;    // one after the other, before the haystack counts as full
constexpr int sentences_with_a_key = 1000;       // drawn one after the other, before it is given up
constexpr int64_t sentences_of_a_paragraph = 7;  // on average

struct Piece {
  std::string text;  // with the white space before it
  int64_t tokens = 0;
};

struct Filler {
  const NeedleSpec& spec;
  const NeedleTexts& texts;
  const NeedlePlan& plan;
  NeedleSplit split;
  NeedleDraws& draws;

  bool is_free_of_secrets(const std::string& text) const {
    return std::none_of(plan.secrets.begin(), plan.secrets.end(),
                        [&](const std::string& secret) { return text.find(secret) != std::string::npos; });
  }

  std::string number() const {
    std::string digits(1, static_cast<char>('1' + draws.below(9)));
    for (int64_t more = draws.between(2, 6); more > 0; --more) digits += static_cast<char>('0' + draws.below(10));
    return digits;
  }

  std::string drawn() const {
    if (draws.uniform() >= spec.distractor_rate) return fill(draws.pick(texts.fillers), texts.words, {}, draws);
    const bool is_key = draws.below(2) == 0;
    const std::vector<std::string>& wordings = is_key ? texts.key_distractors : texts.number_distractors;
    const SlotValues given = {is_key ? std::pair{"value", draw_key(plan.form, split, draws)}
                                     : std::pair{"number", number()}};
    return fill(draws.pick(wordings), texts.words, given, draws);
  }

  // With what stands before it: a blank, or an empty line where a paragraph begins.
  std::string sentence() const {
    const char* before = draws.below(sentences_of_a_paragraph) == 0 ? "\n\n" : " ";
    for (int tries = 0; tries < sentences_with_a_key; ++tries) {
      const std::string text = drawn();
      if (is_free_of_secrets(text)) return before + text;
    }
    throw UsageError("needles: all filler contains a key; longer keys or fewer distractors are needed");
  }
};

// Tokens that a piece adds to a text: what it has alone can be one more, where a tokenizer begins texts with a blank.
int64_t added_tokens(const std::string& piece, const NeedleTokens& tokens) {
  return static_cast<int64_t>(tokens.encode("." + piece).size()) - static_cast<int64_t>(tokens.encode(".").size());
}

std::vector<Piece> draw_pieces(const Filler& filler, const NeedleTokens& tokens, int64_t room) {
  std::vector<Piece> pieces;
  for (int misses = 0; misses < sentences_that_may_not_fit;) {
    Piece piece{filler.sentence(), 0};
    piece.tokens = added_tokens(piece.text, tokens);
    if (piece.tokens > room) {
      ++misses;
      continue;
    }
    room -= piece.tokens;
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

// Before which piece each statement goes: the border between pieces that is nearest to its depth in tokens.
std::vector<size_t> places_at(const std::vector<double>& depths, const std::vector<Piece>& pieces) {
  std::vector<int64_t> borders = {0};
  for (const Piece& piece : pieces) borders.push_back(borders.back() + piece.tokens);
  std::vector<size_t> places;
  for (const double depth : depths) {
    const double wanted = depth * static_cast<double>(borders.back());
    const auto distance = [&](int64_t border) { return std::abs(static_cast<double>(border) - wanted); };
    const auto nearest = std::min_element(borders.begin(), borders.end(),
                                          [&](int64_t a, int64_t b) { return distance(a) < distance(b); });
    places.push_back(static_cast<size_t>(nearest - borders.begin()));
  }
  return places;
}

void append(std::string& text, std::string_view piece) { text += text.empty() ? trimmed(piece) : piece; }

Haystack assembled(const std::vector<Piece>& pieces, const std::vector<size_t>& places, const NeedlePlan& plan) {
  Haystack haystack;
  haystack.statements.resize(places.size());
  for (size_t i = 0; i <= pieces.size(); ++i) {
    for (size_t n = 0; n < places.size(); ++n) {
      if (places[n] != i) continue;
      append(haystack.text, " " + plan.statements[n].text);
      haystack.statements[n] = {haystack.text.size() - plan.statements[n].text.size(), haystack.text.size()};
    }
    if (i < pieces.size()) append(haystack.text, pieces[i].text);
  }
  return haystack;
}

}  // namespace

Haystack build_haystack(const NeedleSpec& spec, const NeedleTexts& texts, const NeedleTokens& tokens,
                        const NeedlePlan& plan, NeedleSplit split, int64_t budget, NeedleDraws& draws) {
  std::vector<double> depths;
  int64_t room = budget;
  for (const Statement& statement : plan.statements) {
    depths.push_back(spec.least_depth + (spec.most_depth - spec.least_depth) * draws.uniform());
    room -= added_tokens(" " + statement.text, tokens);
  }
  if (room < 0)
    throw UsageError(str("--tokens: ", budget, " are not enough for the statements, which have ", budget - room));
  if (plan.in_order) std::sort(depths.begin(), depths.end());
  std::vector<Piece> pieces = draw_pieces({spec, texts, plan, split, draws}, tokens, room);
  // Sentences need not have as many tokens together as alone.
  for (;; pieces.pop_back()) {
    Haystack haystack = assembled(pieces, places_at(depths, pieces), plan);
    haystack.tokens = tokens.encode(haystack.text);
    if (pieces.empty() || static_cast<int64_t>(haystack.tokens.size()) <= budget) return haystack;
  }
}

}  // namespace braid
