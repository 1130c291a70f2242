// SPDX-License-Identifier: Apache-2.0
#include "parallel/pipeline.h"

#include "base/error.h"
#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"

namespace braid {

namespace {

// Of what was handed on backward asks for shape and place in the graph alone (as Megatron-LM's schedules do).
void forget_numbers(const at::Tensor& output) { output.set_data(at::empty({1}, output.options()).expand(output.sizes())); }

}  // namespace

Pipeline::Pipeline(Transformer& model, const PipelineShape& shape, const RankGroup& stages, int64_t shares)
    : model_(model), shape_(shape), stages_(stages), shares_(shares), stage_(stages.host.rank()) {
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
  const std::vector<int64_t> shape = carried_shape(0, model_.config().context);
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
    const at::Tensor input = is_first(chunk) ? pass.ids : receive_activations(pass);
    const at::Tensor output = through(chunk, input, pass);
    if (!is_last(chunk)) send(*behind().activations, next(), output);
  }
}

void Pipeline::share(LossTotals& totals) {
  finish_sends();
  stages_.data.broadcast(buffer_of(totals.values), int(shape_.stages - 1)).wait();
}

// What goes along depth on this rank, of so many whole samples.
std::vector<int64_t> Pipeline::carried_shape(int64_t samples, int64_t tokens) const {
  return model_.carried_shape(samples, tokens / shares_);
}

at::Tensor Pipeline::receive_activations(const PipelinePass& pass) {
  return receive(*before().activations, previous(), carried_shape(pass.ids.size(0), pass.ids.size(1)));
}

// To what is carried on; behind the last layer, to the loss. A share of the tokens does not say how many there are.
at::Tensor Pipeline::through(int64_t chunk, const at::Tensor& input, const PipelinePass& pass) {
  AttentionContext context = pass.context;
  if (shares_ > 1 && !context.position_ids.defined()) context.position_ids = at::arange(pass.ids.size(1), pass.ids.options());
  const at::Tensor output = model_.run_layers(input, model_.config().held_ranges()[size_t(chunk)], context);
  return is_last(chunk) ? model_.loss_of(output, pass.targets, pass.scale, *pass.totals) : output;
}

void Pipeline::pass_forward(const PipelineAction& action, const PipelinePass& pass) {
  const int64_t chunk = action.chunk;
  at::Tensor input = pass.ids;
  if (!is_first(chunk)) input = receive_activations(pass).requires_grad_(true);
  const at::Tensor output = through(chunk, input, pass);
  if (!is_last(chunk)) {
    send(*behind().activations, next(), output.detach());
    forget_numbers(output);
  }
  kept_[{chunk, action.pass}] = {input, output};
}

void Pipeline::pass_backward(const PipelineAction& action) {
  const auto kept = kept_.find({action.chunk, action.pass});
  const auto [input, output] = kept->second;
  kept_.erase(kept);
  output.backward(is_last(action.chunk) ? at::Tensor() : receive(*behind().gradients, next(), output.sizes()));
  if (!is_first(action.chunk)) send(*before().gradients, previous(), input.grad());
}

// What goes along depth, or its gradient.
at::Tensor Pipeline::receive(Communicator& channel, int from, at::IntArrayRef shape) {
  const auto options = at::TensorOptions(model_.device()).dtype(model_.carried_type());
  at::Tensor tensor = at::empty(shape, options);
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
