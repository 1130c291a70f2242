// SPDX-License-Identifier: Apache-2.0
#include "parallel/tensor_parallel.h"

#include <vector>

#include "base/error.h"
#include "nn/depth_rows.h"
#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"
#include "parallel/sequence_exchange.h"
#include "parallel/sharded_rows.h"
#include "parallel/tensor_exchange.h"
#include "parallel/vocabulary_loss.h"

namespace braid {

void check_tensor_cut(const ModelConfig& whole, int64_t ranks) {
  const auto require_whole_shares = [&](const char* key, int64_t number, const char* what) {
    if (number % ranks == 0) return;
    throw UsageError(str("parallel.tensor: ", key, ": ", number, " ", what, " cannot be shared evenly by ", ranks, " ranks"));
  };
  require_whole_shares("model.heads", whole.heads, "heads");
  require_whole_shares("model.kv_heads", whole.key_value_heads(), "key and value heads");
  require_whole_shares("model.mlp_width", whole.mlp_width, "units of the MLP");
  if (whole.vocabulary < ranks) {
    throw UsageError(str("parallel.tensor: model.vocabulary: ", whole.vocabulary, " tokens are fewer than ", ranks, " ranks"));
  }
}

ModelConfig tensor_share(const ModelConfig& whole, int64_t rank, int64_t ranks) {
  ModelConfig share = whole;
  if (ranks == 1) return share;
  share.own_head_width = whole.head_width();
  share.heads = whole.heads / ranks;
  share.kv_heads = whole.key_value_heads() / ranks;
  share.mlp_width = whole.mlp_width / ranks;
  share.vocabulary = row_range(whole.vocabulary, int(rank), int(ranks)).count;
  return share;
}

namespace {

// What of the whole model's weights a rank has.
class Cut {
 public:
  Cut(int64_t rank, int64_t ranks) : rank_(rank), ranks_(ranks) {}

  // Of each section of the whole's rows an equal share.
  void sections(Parameter& parameter, const std::vector<int64_t>& rows) const {
    int64_t first = 0;
    for (const int64_t section : rows) {
      Box box = parameter.slice;
      box.origin[0] = first + section / ranks_ * rank_;
      box.shape[0] = section / ranks_;
      parameter.parts.push_back(std::move(box));
      first += section;
    }
    parameter.shape[0] = first;
    parameter.slice.origin = parameter.parts.front().origin;
    if (rows.size() == 1) parameter.parts.clear();
  }

  void rows(Parameter& parameter, int64_t all) const {
    const RowRange mine = row_range(all, int(rank_), int(ranks_));
    parameter.shape[0] = all;
    parameter.slice.origin[0] = mine.first;
  }

  void columns(Parameter& parameter, int64_t all) const {
    parameter.shape[1] = all;
    parameter.slice.origin[1] = all / ranks_ * rank_;
  }

 private:
  int64_t rank_, ranks_;
};

Parameter& weight_of(const Linear& layer) { return dynamic_cast<DenseWeight&>(*layer.source).parameter(); }

// Before layers that are cut by their outputs, and behind those that are cut by their inputs.
Partition exchanges_of(Communicator& comm, TokensBetween tokens) {
  if (tokens == TokensBetween::share) {
    return {[&comm](const at::Tensor& share) { return gather_tokens(share, comm); },
            [&comm](const at::Tensor& term) { return sum_tokens(term, comm); }};
  }
  return {[&comm](const at::Tensor& x) { return sum_backward(x, comm); },
          [&comm](const at::Tensor& term) { return sum_forward(term, comm); }};
}

// What enters all ranks' parts is the same; each has some of the outputs.
void cut_outputs(Linear& layer, const std::vector<int64_t>& sections, const Cut& cut, const Partition& exchanges) {
  cut.sections(weight_of(layer), sections);
  if (layer.bias) cut.sections(*layer.bias, sections);
  layer.partition.enter = exchanges.enter;
}

// Each part has some of the inputs, and what they give is summed. A bias is whole, and added once.
void cut_inputs(Linear& layer, int64_t inputs, const Cut& cut, const Partition& exchanges) {
  cut.columns(weight_of(layer), inputs);
  layer.partition.leave = exchanges.leave;
}

void cut_block(Block& block, const ModelConfig& whole, const Cut& cut, const Partition& exchanges) {
  const int64_t queries = whole.query_width(), keys = whole.key_value_width(), units = whole.mlp_width;
  cut_outputs(block.attention.qkv, {queries, keys, keys}, cut, exchanges);
  cut_inputs(block.attention.out, queries, cut, exchanges);
  cut_outputs(block.mlp.in, block.mlp.gated ? std::vector{units, units} : std::vector{units}, cut, exchanges);
  cut_inputs(block.mlp.out, units, cut, exchanges);
}

void cut_vocabulary(Transformer& model, const ModelConfig& whole, const Cut& cut, const Partition& exchanges, Communicator& comm) {
  Embedding& embedding = model.embedding();
  if (embedding.tokens) cut.rows(*embedding.tokens, whole.vocabulary);
  embedding.complete = [leave = exchanges.leave](at::Tensor& rows) { rows = leave(rows); };
  if (!whole.holds_head()) return;
  Linear& head = model.head();
  if (&weight_of(head) != embedding.tokens) cut.rows(weight_of(head), whole.vocabulary);
  head.partition.enter = exchanges.enter;
  const VocabularyPart part{weight_of(head).slice.origin[0], whole.vocabulary};
  model.judge_logits([part, &comm](const at::Tensor& logits, const at::Tensor& targets, double scale, LossTotals& totals) {
    return vocabulary_cross_entropy(logits, part, targets, scale, totals, comm);
  });
}

}  // namespace

void join_tensor_parts(Transformer& model, const ModelConfig& whole, Communicator& comm, TokensBetween tokens) {
  if (comm.size() == 1) return;
  const Cut cut(comm.rank(), comm.size());
  const Partition exchanges = exchanges_of(comm, tokens);
  for (const LayerRange& range : whole.held_ranges()) {
    for (int64_t layer = range.first; layer < range.end(); ++layer) cut_block(model.blocks()[size_t(layer)], whole, cut, exchanges);
  }
  cut_vocabulary(model, whole, cut, exchanges, comm);
}

// Positions are added before tokens part. What is stacked is cut in depth at most.
std::vector<Parameter*> parameters_of_shares(Transformer& model) {
  std::vector<Parameter*> all;
  for (Parameter& parameter : model.parameters().all()) {
    const bool sees_share = (parameter.is_whole() || is_stacked(parameter)) && &parameter != model.embedding().positions;
    if (parameter.trainable && sees_share) all.push_back(&parameter);
  }
  return all;
}

}  // namespace braid
