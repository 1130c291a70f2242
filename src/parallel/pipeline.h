// SPDX-License-Identifier: Apache-2.0
// One model on several ranks, one behind the other in depth, through which micro-batches flow (pipeline_schedule.h). Each rank
// builds a model of some of the layers (stage_share); what goes along depth, in the type of the masters, goes to the next
// rank, and its gradient back. All ranks of a pipeline see the same samples.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "comm/mesh.h"
#include "nn/transformer.h"
#include "parallel/pipeline_schedule.h"

namespace braid {

// Samples that go through the pipeline together. Every stage has all of it.
struct PipelinePass {
  at::Tensor ids, targets;  // [B, T] int64
  AttentionContext context;
  double scale = 0;  // of the loss' gradient (nn/loss.h)
  LossTotals* totals = nullptr;
};

class Pipeline {
 public:
  // What a step's passes are; `before` is called ahead of each forward and backward pass of a micro-batch, `before_backward` as
  // well ahead of the latter, with whether it is the step's last.
  struct Step {
    int64_t passes = 0;
    std::function<PipelinePass(int64_t pass)> pass;
    std::function<void(int64_t pass)> before = [](int64_t) {};
    std::function<void(bool last)> before_backward = [](bool) {};
  };

  // `stages`: the ranks of the pipeline in order; they must outlive it, like the model, which is built as stage_share says.
  // Where a stage's ranks share the tokens between layers that are cut (TokensBetween::share), each of so many `shares` goes from
  // the rank that has it to the one that goes on with it.
  // UsageError, on every rank: neighbours do not agree on what goes between them. Collective.
  Pipeline(Transformer& model, const PipelineShape& shape, const RankGroup& stages, int64_t shares = 1);
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  // Forward and backward of all micro-batches. The losses' sums are there on the last stage. Collective.
  void run(const Step& step);
  // Forward alone, which may still be under way on other stages; ended by share. Collective.
  void forward(const PipelinePass& pass);
  // The last stage's sums on every stage. Collective.
  void share(LossTotals& totals);

  // Behind the reduction over replicas: the gradient of an embedding that is the head as well becomes the sum of what the first
  // and the last stage have of it. Nothing where it is not tied. Collective.
  void sum_tied_gradient();

 private:
  // Messages of one kind, which keep their order. Over NCCL calls of a communicator wait for each other: activations and
  // gradients, and those between the last stage and the first, each need one of their own.
  struct Channels {
    std::unique_ptr<Communicator> activations, gradients;
  };
  struct Kept {
    at::Tensor input, output;
  };

  Channels open_channels();
  bool is_first(int64_t chunk) const { return chunk == 0 && stage_ == 0; }
  bool is_last(int64_t chunk) const { return chunk + 1 == shape_.chunks && stage_ + 1 == shape_.stages; }
  Channels& before() { return stage_ == 0 ? around_ : along_; }
  Channels& behind() { return stage_ + 1 == shape_.stages ? around_ : along_; }
  int previous() const { return int((stage_ + shape_.stages - 1) % shape_.stages); }
  int next() const { return int((stage_ + 1) % shape_.stages); }
  void require_agreement(Communicator& host) const;
  std::vector<int64_t> carried_shape(int64_t samples, int64_t tokens) const;

  void pass_forward(const PipelineAction& action, const PipelinePass& pass);
  void pass_backward(const PipelineAction& action);
  at::Tensor through(int64_t chunk, const at::Tensor& input, const PipelinePass& pass);
  at::Tensor receive_activations(const PipelinePass& pass);
  at::Tensor receive(Communicator& channel, int from, at::IntArrayRef shape);
  void send(Communicator& channel, int to, const at::Tensor& tensor);
  void finish_sends();

  Transformer& model_;
  PipelineShape shape_;
  RankGroup stages_;
  int64_t shares_, stage_;
  Channels along_, around_;  // between neighbours; from the last stage to the first
  std::map<std::pair<int64_t, int64_t>, Kept> kept_;  // by chunk and pass, between forward and backward
  std::deque<std::pair<at::Tensor, Work>> sent_;      // memory of messages under way
};

}  // namespace braid
