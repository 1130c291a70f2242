// SPDX-License-Identifier: Apache-2.0
// Context compression with gist tokens in two stages (Mu et al., arXiv 2304.08467, by segments): a segment of context
// followed by k learned vectors goes through the blocks with ordinary causal attention, and the keys and values of
// those k columns are all that is kept of it. Questions are answered with a past of nothing else. This equals one pass
// under a mask that hides the context from the question, without such a mask.
//
// Positions: a segment's tokens are 0..S-1, its gists S..S+k-1, whichever segment it is, and a question begins at S+k.
#pragma once

#include <vector>

#include "nn/transformer.h"

namespace braid {

// What an answer has before it: keys and values of every layer, gists and the tokens answered so far.
struct AnswerPast {
  std::vector<Past> layers;
  int64_t next_position = 0;
};

// gists [B, L, 2, H_kv, P, d] of segments of S tokens with k gists each; `first_position` is S + k.
AnswerPast past_of_gists(const at::Tensor& gists, int64_t first_position);

class GistModel {
 public:
  // Puts k gist vectors on a llama-dialect model with one residual stream. They are parameters of their own, no rows of
  // the vocabulary: "gist.vectors" [k, D]. UsageError: a model that this is not built for.
  GistModel(Transformer& model, int64_t count, Weights weights = Weights::trained);
  GistModel(const GistModel&) = delete;
  GistModel& operator=(const GistModel&) = delete;

  // ids [R, S], a segment each, to their gists [R, L, 2, H_kv, k, d] in compute type: keys, turned, and values.
  // Gradients flow through them into vectors, model and context. `first_position` is that of a segment's first token.
  at::Tensor compress(const at::Tensor& ids, int64_t first_position = 0);
  // Logits [B, T, V] of the next tokens; they see the whole past and those before them, and become part of the past.
  at::Tensor answer(const at::Tensor& ids, AnswerPast& past);

  Transformer& model() { return model_; }
  ParameterSet& parameters() { return parameters_; }
  int64_t count() const { return vectors_->shape[0]; }

 private:
  at::Tensor run_segment(at::Tensor x, const at::Tensor& position_ids);
  AttentionContext context_at(const at::Tensor& position_ids) const;
  void expect_two_passes();

  Transformer& model_;
  ParameterSet parameters_;
  Parameter* vectors_ = nullptr;
};

// Standard-normal vectors by (seed, element): as large as the embeddings that initialise_fan_in draws.
void initialise_gists(GistModel& gists, int64_t seed);

}  // namespace braid
