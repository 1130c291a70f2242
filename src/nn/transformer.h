// SPDX-License-Identifier: Apache-2.0
// Decoder-only transformer: embedding, blocks joined by a residual connection, final norm, head. Says nothing of ranks:
// what parallelism needs is put on from outside through the parameters' slots, the linear layers and the block wrapper.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "nn/block.h"
#include "nn/block_input.h"
#include "nn/embedding.h"
#include "nn/loss.h"
#include "nn/model_config.h"
#include "nn/residual.h"

namespace braid {

// A quantised model (ModelConfig::quantise) is always frozen, and its projections in NF4 have no weights until a loader
// gives them their source (models/hf_model.h). elsewhere: trained, in memory that someone else gives (ParameterSet::lay_out).
enum class Weights { trained, frozen, elsewhere };

// Is shown what goes along depth (ResidualState::carried): before the first sublayer, depth 0, and behind each.
using DepthObserver = std::function<void(int64_t depth, const at::Tensor& carried)>;

// Of logits [N, V] and targets [N] what cross_entropy (nn/loss.h) says.
using LogitLoss = std::function<at::Tensor(const at::Tensor& logits, const at::Tensor& targets, double scale, LossTotals& totals)>;

// Which of each sample's tokens inputs hold, where the others are elsewhere.
struct TokenShare {
  std::function<std::vector<int64_t>(int64_t tokens)> positions;  // in the sample, of an input of so many tokens
  AttentionProduct product;                                       // over all tokens of the sample
};

class Transformer {
 public:
  Transformer(const ModelConfig& config, Precision precision, const at::Device& device,
              Weights weights = Weights::trained);
  Transformer(const Transformer&) = delete;
  Transformer& operator=(const Transformer&) = delete;

  // Per optimiser step: begin_step, then forward and backward of each micro-batch, then end_backward.
  void begin_step();
  void end_backward();

  // Some neighbouring layers of a pass: from ids [B, T] int64, where `layers` begins with the first one, or from what goes along
  // depth before them (ResidualState::carried), in carried_type(); to what goes along behind them or, behind the last one, to the
  // last norm's output [B, T, D] in compute type.
  at::Tensor run_layers(const at::Tensor& input, const LayerRange& layers, const AttentionContext& context = {});
  // What run_layers asks for and gives between layers, for so many samples.
  std::vector<int64_t> carried_shape(int64_t samples, int64_t tokens) const;
  at::ScalarType carried_type() const { return residual_->carried_type(master_type(parameters_.precision())); }
  // Of the last norm's output.
  at::Tensor loss_of(const at::Tensor& hidden, const at::Tensor& targets, double scale, LossTotals& totals);

  // ids [B, T] int64 to the last norm's output [B, T, D] in compute type.
  at::Tensor hidden(const at::Tensor& ids, const AttentionContext& context = {});
  // ids [B, T] to logits [B, T, V] in compute type.
  at::Tensor logits(const at::Tensor& ids, const AttentionContext& context = {});
  // Forward and loss of one micro-batch; see cross_entropy for scale and totals.
  at::Tensor loss(const at::Tensor& ids, const at::Tensor& targets, double scale, LossTotals& totals,
                  const AttentionContext& context = {});

  const ModelConfig& config() const { return config_; }
  ParameterSet& parameters() { return parameters_; }
  ResidualConnection& residual() { return *residual_; }
  // For what attaches to layers from outside: adapters, other sources of weights.
  Embedding& embedding() { return embedding_; }
  std::vector<Block>& blocks() { return blocks_; }  // of every layer; empty ones of those that are not here
  Linear& head() { return head_; }
  const Norm& final_norm() const { return final_norm_; }
  // What computes attention for `batch` samples of the configured length (attention_backend).
  std::string attention_backend(int64_t batch) const;
  const at::Device& device() const { return device_; }
  void wrap_blocks(BlockWrapper wrapper) { wrapper_ = std::move(wrapper); }
  // What is added to blocks' inputs from outside, null for nothing; it must outlive its place here.
  void add_to_blocks(BlockInput* input) { block_input_ = input; }
  BlockInput* block_input() const { return block_input_; }
  // What loss() asks from now on instead of cross_entropy: where a head gives some of the logits only.
  void judge_logits(LogitLoss loss) { logit_loss_ = std::move(loss); }
  // Inputs without position ids hold a share of their samples from now on.
  void share_tokens(TokenShare share) { share_ = std::move(share); }
  // Called in every forward pass from now on; empty for nothing.
  void observe_depth(DepthObserver observer) { observer_ = std::move(observer); }
  int64_t depths() const { return config_.layers * residual_->sublayers_per_block() + 1; }  // places it is shown

 private:
  AttentionContext completed(AttentionContext context, int64_t tokens, const at::TensorOptions& ids) const;
  ResidualState run_blocks(ResidualState state, const LayerRange& layers, const AttentionContext& context);
  void show(int64_t depth, const ResidualState& state) const;
  void add_embedding();
  void add_head();
  void leave_out_quantised();
  void set_output_types(Precision precision);

  ModelConfig config_;
  at::Device device_;
  ParameterSet parameters_;
  Embedding embedding_;
  std::vector<Block> blocks_;
  std::unique_ptr<ResidualConnection> residual_;
  Norm final_norm_;
  Linear head_;
  LogitLoss logit_loss_;
  TokenShare share_;
  BlockWrapper wrapper_;
  BlockInput* block_input_ = nullptr;
  DepthObserver observer_;
};

}  // namespace braid
