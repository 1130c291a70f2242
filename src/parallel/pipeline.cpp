// SPDX-License-Identifier: Apache-2.0
#include "parallel/pipeline.h"

#include "base/error.h"
#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"

namespace braid {

Pipeline::Pipeline(Transformer& model, const PipelineShape& shape, const RankGroup& stages)
    : model_(model), shape_(shape), stages_(stages), stage_(stages.host.rank()) {
  require_agreement(stages.host);
  along_ = open_channels();
  if (shape.chunks > 1) around_ = open_channels();
}

Pipeline::Channels Pipeline::open_channels() {
  const auto open = [&] { return stages_.data.split(0, stages_.data.rank()); };
  Channels channels;
  channels.activations = open();
  channels.gradients = open();
  return channels;
}

// A buffer of another size or type would be filled in part, or wait for ever.
void Pipeline::require_agreement(Communicator& host) const {
  const std::vector<int64_t> shape = model_.carried_shape(0, model_.config().context);
  std::string mine = str("samples of ", shape[1], " tokens");
  for (size_t axis = 2; axis < shape.size(); ++axis) mine += str(" x ", shape[axis]);
  mine += str(" in ", c10::toString(model_.carried_type()), ", ", shape_.schedule, ", ", shape_.chunks,
              " run(s) a stage");
  const std::vector<std::string> all = gather_texts(host, mine);
  for (size_t stage = 1; stage < all.size(); ++stage) {
    if (all[stage] == all[stage - 1]) continue;
    throw UsageError(str("pipeline: stage ", stage - 1, " hands on ", all[stage - 1], ", but stage ", stage, " expects ",
                         all[stage]));
  }
}

void Pipeline::run(const Step& step) {
  const std::vector<PipelineAction> actions = pipeline_actions(shape_, stage_, step.passes);
  for (const PipelineAction& action : actions) {
    step.before(action.pass);
    if (action.forward) {
      pass_forward(action, step.pass(action.pass));
    } else {
      step.before_backward(&action == &actions.back());
      pass_backward(action);
    }
  }
  finish_sends();
}

void Pipeline::forward(const PipelinePass& pass) {
  for (int64_t chunk = 0; chunk < shape_.chunks; ++chunk) {
    const at::Tensor input = is_first(chunk) ? pass.ids : receive(*before().activations, previous(), pass.ids);
    const at::Tensor output = through(chunk, input, pass);
    if (!is_last(chunk)) send(*behind().activations, next(), output);
  }
}

void Pipeline::share(LossTotals& totals) {
  finish_sends();
  stages_.data.broadcast(buffer_of(totals.values), int(shape_.stages - 1)).wait();
}

// To what is carried on; behind the last layer, to the loss.
at::Tensor Pipeline::through(int64_t chunk, const at::Tensor& input, const PipelinePass& pass) {
  const at::Tensor output = model_.run_layers(input, model_.config().held_ranges()[size_t(chunk)], pass.context);
  return is_last(chunk) ? model_.loss_of(output, pass.targets, pass.scale, *pass.totals) : output;
}

void Pipeline::pass_forward(const PipelineAction& action, const PipelinePass& pass) {
  const int64_t chunk = action.chunk;
  at::Tensor input = pass.ids;
  if (!is_first(chunk)) input = receive(*before().activations, previous(), pass.ids).requires_grad_(true);
  const at::Tensor output = through(chunk, input, pass);
  if (!is_last(chunk)) send(*behind().activations, next(), output.detach());
  kept_[{chunk, action.pass}] = {input, output};
}

void Pipeline::pass_backward(const PipelineAction& action) {
  const auto kept = kept_.find({action.chunk, action.pass});
  const auto [input, output] = kept->second;
  kept_.erase(kept);
  output.backward(is_last(action.chunk) ? at::Tensor() : receive(*behind().gradients, next(), output));
  if (!is_first(action.chunk)) send(*before().gradients, previous(), input.grad());
}

// What goes along depth, or its gradient, of as many samples and tokens as `like` [B, T, ...] has.
at::Tensor Pipeline::receive(Communicator& channel, int from, const at::Tensor& like) {
  const auto options = at::TensorOptions(model_.device()).dtype(model_.carried_type());
  at::Tensor tensor = at::empty(model_.carried_shape(like.size(0), like.size(1)), options);
  channel.receive(buffer_of(tensor), from).wait();
  return tensor;
}

void Pipeline::send(Communicator& channel, int to, const at::Tensor& tensor) {
  while (!sent_.empty() && sent_.front().second.done()) sent_.pop_front();
  const at::Tensor message = tensor.contiguous();
  sent_.emplace_back(message, channel.send(buffer_of(message), to));
}

// Over NCCL a buffer may be used again once the stream of what comes next waits for the message.
void Pipeline::finish_sends() {
  for (const auto& [message, work] : sent_) work.wait();
  sent_.clear();
}

void Pipeline::sum_tied_gradient() {
  const ModelConfig& config = model_.config();
  const bool first = stage_ == 0, last = stage_ + 1 == shape_.stages;
  if (!config.tie_embeddings || shape_.stages == 1 || !(first || last)) return;
  const at::Tensor gradient = model_.parameters().named("embedding.weight").gradient_slot();
  const int other = first ? int(shape_.stages - 1) : 0;
  if (!first) {
    stages_.data.send(buffer_of(gradient), other).wait();
    stages_.data.receive(buffer_of(gradient), other).wait();
    return;
  }
  const at::Tensor theirs = at::empty_like(gradient);
  stages_.data.receive(buffer_of(theirs), other).wait();
  gradient.add_(theirs);
  stages_.data.send(buffer_of(gradient), other).wait();
}

}  // namespace braid
