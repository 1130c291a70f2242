// SPDX-License-Identifier: Apache-2.0
// A system is a way to answer questions about contexts: it keeps something of a context, and answers from that alone.
// All are asked the same questions and judged alike (gist_examine.h).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/question_set.h"
#include "experiments/adapted_model.h"
#include "infer/kv_cache.h"
#include "nn/gist_segments.h"

namespace braid {

// Questions that are answered together: contexts are as long as each other, and so are questions.
struct AskedBatch {
  std::vector<Question> questions;
  at::Tensor context, question;  // [B, n], [B, q] int64 on the model's device
  at::Tensor other;              // [B, m]: the context of the question that comes next, for controls
};

// The new tokens of each text, a stop id at the end included.
using AnswerTokens = std::vector<std::vector<int64_t>>;

// What was read to answer: positions whose keys and values, or tokens, an answer sees before its question.
struct SystemReply {
  AnswerTokens tokens;
  double read_positions = 0, read_bytes = 0;  // of one question, the mean over the batch
};

// What a system keeps of a batch's contexts, and how it answers from it, as often as wanted.
struct KeptContexts {
  double stored_positions = 0, stored_bytes = 0;  // of one context, the mean over the batch
  std::function<SystemReply()> answer;            // the batch's questions; the batch must outlive it
};

struct GistSystem {
  std::string name;
  std::function<KeptContexts(const AskedBatch&)> compress;
  bool quadratic = false;  // its time grows with the square of the context's length
};

// What systems are made for; must outlive them.
struct SystemNeeds {
  AdaptedModel& loaded;    // with gists
  const QuestionSet& set;  // whose answers they decode
  int64_t segment = 0, overlap = 0;
  int64_t reread = 1;  // segments whose raw text `hybrid` reads

  SegmentPlan plan(int64_t length) const { return plan_segments(length, segment, overlap); }
  int64_t first_position(const SegmentPlan& plan) const { return plan.length + loaded.gists->count(); }
};

// All there are, `gist` first. Further ones: add them here.
std::vector<GistSystem> gist_systems(const SystemNeeds& needs);
// Those of these names, in the order of gist_systems. UsageError: an unknown name, with those there are.
std::vector<GistSystem> systems_named(std::vector<GistSystem> systems, const std::vector<std::string>& names);

// Greedy decoding: `logits_after` gives those [B, V] of the token behind ids [B, T], first the question's, then each new
// token's. A row ends behind a stop id; decoding goes on until all have, or answer_tokens are there.
AnswerTokens decode_greedily(const QuestionSet& set, const at::Tensor& question,
                             const std::function<at::Tensor(const at::Tensor&)>& logits_after);
// The same behind gists [B, L, 2, H_kv, P, d], P = 0 for none.
AnswerTokens answer_behind(const SystemNeeds& needs, const at::Tensor& gists, int64_t first_position,
                           const at::Tensor& question);
// The same for raw tokens [B, T], question at their end, over a cache of keys and values.
AnswerTokens answer_raw(const SystemNeeds& needs, const at::Tensor& tokens);

}  // namespace braid
