// SPDX-License-Identifier: Apache-2.0
// The loss of a compressing model: its answers from gists, and perhaps two further terms.
//   L = CE(answer) + a CE(a span of the context, written out again from the gists) + b KL(P || Q) on answer tokens
// P is what the model without gists and adapters says of the same tokens behind the whole context, Q what it says here.
#pragma once

#include "comm/communicator.h"
#include "data/dataset.h"
#include "experiments/gist_answers.h"
#include "nn/gist.h"
#include "nn/gist_segments.h"
#include "nn/loss.h"

namespace braid {

// Samples hold a context, then question and answer, then perhaps the span (data/repeated_spans.h).
struct GistForm {
  SegmentPlan segments;
  int64_t question_tokens = 0;
  int64_t repeat_tokens = 0, cue = 0;       // of the span; its first `cue` tokens say which it is, and carry no loss
  double repeat_weight = 0, kl_weight = 0;  // a and b
  MostOfRanks most = {};  // of passes without gradients
  bool raw = false;  // answers stand behind the segments' own keys and values instead of gists, without a and b
};

// Sums of a step's further terms, [4] double on the device: CE of spans times their samples' answer tokens, KL, and the
// numbers of answer tokens that each is over.
struct GistTerms {
  at::Tensor values;
  static constexpr int64_t repeat = 0, kl = 1, repeated = 2, compared = 3;
};
GistTerms make_gist_terms(const at::Device& device);

// Only answers count in `totals`; what is further asked for adds to `terms`. Of a sample's span the mean of its tokens'
// losses counts as much as each answer token's.
at::Tensor gist_loss(GistModel& gists, const GistForm& form, const Batch& batch, int64_t first, int64_t count,
                     double scale, LossTotals& totals, GistTerms* terms = nullptr);
// The same where every rank has all samples: it compresses its part of the segments, receives all gists and answers its
// part of the samples. Losses and counts of the ranks add up to those of gist_loss; so do gradients.
at::Tensor shared_gist_loss(GistModel& gists, const GistForm& form, Communicator& comm, const Batch& batch,
                            int64_t first, int64_t count, double scale, LossTotals& totals, GistTerms* terms = nullptr);

}  // namespace braid
