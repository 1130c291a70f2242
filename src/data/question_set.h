// SPDX-License-Identifier: Apache-2.0
// Contexts with questions, in tokens, and how answers are judged: what evaluations of compression ask, wherever it is
// from (the passkey task's tokens, or texts of a needle file through a tokenizer).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/answer_score.h"

namespace braid {

struct TokenSpan {
  int64_t begin = 0, end = 0;  // [begin, end)
};

struct Question {
  int64_t index = 0;                        // in its set
  std::vector<int64_t> context, question;   // tokens
  std::vector<TokenSpan> asked;             // where in the context the statements stand that the answer needs; empty: unknown
  std::optional<double> depth;              // of the first of them, 0 to 1
};

struct JudgedAnswer {
  std::string expected, answer;  // as text
  AnswerScore score;
  AnswerKind kind = AnswerKind::malformed;
};

struct QuestionSet {
  std::string name;                // "passkey", "multikey-4", "global-test"
  std::string language;            // "en", "ko"; "" for tokens
  int64_t size = -1;               // -1: without end
  int64_t answer_tokens = 16;      // at most so many are decoded
  std::vector<int64_t> stop_ids;   // an answer ends behind one of these
  std::function<Question(int64_t)> question;
  // What was decoded, a stop id at its end included where there was one.
  std::function<JudgedAnswer(const Question&, const std::vector<int64_t>&)> judge;
  // The answer as a search in the raw context finds it, a stop id at its end: what shows that the data can be answered.
  std::function<std::vector<int64_t>(const Question&)> search;
};

}  // namespace braid
