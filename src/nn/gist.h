// SPDX-License-Identifier: Apache-2.0
// Context compression with gist tokens in two stages (Mu et al., arXiv 2304.08467, by segments): a segment of context
// followed by k learned vectors goes through the blocks with ordinary causal attention, and the keys and values of
// those k columns are all that is kept of it. Questions are answered with a past of nothing else. This equals one pass
// under a mask that hides the context from the question, without such a mask.
//
// Positions: a segment's tokens are 0..S-1, its gists S..S+k-1, whichever segment it is, and a question begins at S+k.
#pragma once

#include <vector>

#include "nn/enter_block.h"
#include "nn/lora_model.h"
#include "nn/transformer.h"

namespace braid {

// What an answer has before it: keys and values of every layer, gists and the tokens answered so far.
struct AnswerPast {
  std::vector<Past> layers;
  int64_t next_position = 0;
};

// gists [B, L, 2, H_kv, P, d] of segments of S tokens with k gists each; `first_position` is S + k.
AnswerPast past_of_gists(const at::Tensor& gists, int64_t first_position);

struct GistSettings {
  int64_t count = 1;  // k
  // Already on the model. With lora.rows = "gist" they act on gists' columns in compression and nowhere else (Kim et
  // al., "Compressed Context Memory", arXiv 2312.03414), and are off otherwise.
  LoraModel* adapters = nullptr;
  bool repeats = false;    // has a further vector, "gist.repeat" [1, D], behind which it writes contexts out again
  bool recompute = false;  // nn/recompute.h
};

class GistModel {
 public:
  // Puts k gist vectors on a llama-dialect model with one residual stream. They are parameters of their own, no rows of
  // the vocabulary: "gist.vectors" [k, D]. UsageError: a model that this is not built for.
  GistModel(Transformer& model, const GistSettings& settings, Weights weights = Weights::trained);
  GistModel(Transformer& model, int64_t count, Weights weights = Weights::trained)
      : GistModel(model, GistSettings{count}, weights) {}
  GistModel(const GistModel&) = delete;
  GistModel& operator=(const GistModel&) = delete;

  // ids [R, S], a segment each, to their gists [R, L, 2, H_kv, k, d] in compute type: keys, turned, and values.
  // `first_position` is that of a segment's first token. Gradients flow through them into vectors, model and context; into
  // vectors and adapters alone where nothing that is trained acts on contexts, which then cost no memory for gradients.
  at::Tensor compress(const at::Tensor& ids, int64_t first_position = 0);
  // Logits [B, T, V] of the next tokens; they see the whole past and those before them, and become part of the past.
  at::Tensor answer(const at::Tensor& ids, AnswerPast& past);
  at::Tensor answer_last(const at::Tensor& ids, AnswerPast& past);  // of the last one alone, [B, V]
  // The same in two steps: what logits are made of, [B, T, D], so that they need not be made of all tokens.
  at::Tensor hidden(const at::Tensor& ids, AnswerPast& past);
  at::Tensor logits(const at::Tensor& hidden);
  // Behind the vector that asks for the text itself, [B, T + 1, D].
  at::Tensor repeat(const at::Tensor& ids, AnswerPast& past);
  // What the model without gists and adapters says behind `places` of ids [B, T], seen as [B T]: [N, V], no gradients.
  at::Tensor full_logits(const at::Tensor& ids, const at::Tensor& places);

  // Called at each block by every pass from now on: passes go round Transformer's wrapper. Empty for nothing.
  void enter_blocks(EnterBlock enter) { enter_ = std::move(enter); }
  const EnterBlock& entering() const { return enter_; }

  Transformer& model() { return model_; }
  ParameterSet& parameters() { return parameters_; }
  int64_t count() const { return vectors_->shape[0]; }

 private:
  bool on_gists_only() const;
  bool context_is_constant() const;
  at::Tensor run_segment(at::Tensor x, const at::Tensor& position_ids);
  at::Tensor run_behind_context(const at::Tensor& ids, const at::Tensor& position_ids);
  at::Tensor recompute_gists(const at::Tensor& x, const Block& block, const AttentionContext& gists, Past& past);
  at::Tensor embed_constant(const at::Tensor& ids, const at::Tensor& position_ids);
  at::Tensor run_behind(at::Tensor x, const at::Tensor& position_ids, AnswerPast& past);
  AttentionContext context_at(const at::Tensor& position_ids) const;
  void expect_passes(ParameterSet& set, const std::string& blocks, const std::vector<std::string>& projecting);

  Transformer& model_;
  LoraModel* adapters_ = nullptr;
  bool recompute_ = false;
  ParameterSet parameters_;
  Parameter* vectors_ = nullptr;
  Parameter* repeat_ = nullptr;  // null unless it repeats
  EnterBlock enter_;
};

// Standard-normal vectors by (seed, element): as large as the embeddings that initialise_fan_in draws.
void initialise_gists(GistModel& gists, int64_t seed);
// For a model that knows its tokens: the mean of the embeddings, and a tenth of their size (root mean square) of noise,
// so that the vectors differ.
void initialise_gists_at_mean(GistModel& gists, int64_t seed);

}  // namespace braid
