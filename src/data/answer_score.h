// SPDX-License-Identifier: Apache-2.0
// How answers to needle questions are judged. What a model wrote is compared as it is: case counts, and nothing but
// white space, punctuation and Korean particles or endings that are attached to a key is taken off.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/statistics.h"
#include "data/needle_sample.h"

namespace braid {

struct AnswerScore {
  bool strict = false;    // the answer's first words are the keys asked for: one, or all of several and no other before
  bool contains = false;  // all keys asked for stand somewhere in the answer
  double recall = 0;      // share of the keys asked for that do (RULER's score)
  double characters = 0;  // share of the keys' characters that are right, place by place from the first word on
};

// Several answers are expected in the sample's order if the task is multiquery, in any order otherwise.
AnswerScore score_answer(const std::string& answer, const NeedleSample& sample);

// What an answer is, by rule. What is not `right` is looked through for the first key of the set's form that was not
// asked for; where it is from says what the mistake was. A word of the context, instruction or question in capitals
// does not count as a key.
enum class AnswerKind {
  right,          // strict
  late,           // all keys asked for are there, but not first, or not alone
  other_key,      // a key of another needle of the context
  distractor,     // a false key: of this form, in the context, of no needle
  hallucination,  // of this form, nowhere in the context
  partial,        // some of several keys, and no other
  empty,          // nothing but white space and punctuation
  malformed,      // all else
};
inline constexpr size_t answer_kinds = 8;
const char* name_of(AnswerKind kind);

// `form`: of the answers of the whole set (form_of_keys), since one key may look narrower than it is.
AnswerKind kind_of_answer(const std::string& answer, const NeedleSample& sample, const KeyForm& form);

struct AnswerTally {
  std::array<int64_t, answer_kinds> kinds = {};
  int64_t answers = 0, strict = 0, contains = 0;
  double recall = 0, characters = 0;  // sums; means are over `answers`

  void add(const AnswerScore& score, AnswerKind kind);
  int64_t count(AnswerKind kind) const { return kinds[static_cast<size_t>(kind)]; }
  double share(AnswerKind kind) const { return answers > 0 ? double(count(kind)) / double(answers) : 0; }
  // Wilson's, 95 %. That of AnswerKind::hallucination is the hallucination rate's.
  Interval interval(AnswerKind kind) const { return wilson_interval(count(kind), answers); }
  Interval strict_interval() const { return wilson_interval(strict, answers); }
  Interval contains_interval() const { return wilson_interval(contains, answers); }
};

// Maximal runs of letters and digits of ASCII.
std::vector<std::string> runs_of(const std::string& text);

// The first `count` words of an answer without what surrounds and follows the key in each; shorter where it has fewer.
std::vector<std::string> first_words(const std::string& answer, size_t count);

}  // namespace braid
