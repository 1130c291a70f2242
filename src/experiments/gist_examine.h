// SPDX-License-Identifier: Apache-2.0
// Systems, asked the same questions: all that they answered, how that is judged, what they read and how long it took.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/gist_system.h"

namespace braid {

struct GistAnswer {
  int64_t index = 0, context_tokens = 0;
  std::optional<double> depth;
  std::vector<int64_t> tokens;
  JudgedAnswer judged;
};

struct SystemResult {
  std::string system;
  std::vector<GistAnswer> answers;
  double stored_positions = 0, stored_bytes = 0;     // of a context, means over all
  double read_positions = 0, read_bytes = 0;         // of an answer
  double compress_seconds = 0, answer_seconds = 0;   // of one question, of those that are answered together

  AnswerTally tally() const;
  double context_tokens() const;  // mean
};

// Questions [first, first + count) of the set, at most `tokens_at_once` of contexts together. They are split over the
// ranks; every rank gets all answers, which do not depend on their number. Collective.
std::vector<SystemResult> examine(const std::vector<GistSystem>& systems, const QuestionSet& set, Slice questions,
                                  int64_t tokens_at_once, const at::Device& device, Communicator& comm);

// Those questions as one batch. UsageError: contexts or questions of different lengths.
AskedBatch asked_batch(const QuestionSet& set, Slice questions, const at::Device& device);

}  // namespace braid
