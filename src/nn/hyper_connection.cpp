// SPDX-License-Identifier: Apache-2.0
#include "nn/hyper_connection.h"

#include "kernels/sinkhorn.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

kernels::SinkhornShape sinkhorn_shape(const at::Tensor& logits, int64_t iterations) {
  return {logits.size(0), logits.size(1), iterations, kernels::SinkhornOrder::row_then_column};
}

at::Tensor sinkhorn(const at::Tensor& logits, int64_t iterations) {
  at::Tensor H = at::empty_like(logits);
  kernels::sinkhorn(launch_for(logits), sinkhorn_shape(logits, iterations), element_of(logits), logits.const_data_ptr(),
                    H.mutable_data_ptr());
  return H;
}

at::Tensor sinkhorn_backward(const at::Tensor& logits, int64_t iterations, const at::Tensor& dH) {
  at::Tensor dlogits = at::empty_like(logits);
  kernels::sinkhorn_backward(launch_for(logits), sinkhorn_shape(logits, iterations), element_of(logits),
                             logits.const_data_ptr(), dH.const_data_ptr(), dlogits.mutable_data_ptr());
  return dlogits;
}

// Gradient of row softmax: y * (dy - sum(y dy)).
at::Tensor softmax_backward(const at::Tensor& logits, const at::Tensor& dy) {
  const at::Tensor y = at::softmax(logits, -1);
  return y * (dy - (y * dy).sum(-1, true));
}

void contribute(Parameter& parameter, const at::Tensor& gradient) {
  if (!parameter.trainable) return;
  parameter.gradient_slot().add_(gradient);
  parameter.gradient_contributed();
}

}  // namespace

HyperConnection::HyperConnection(ParameterSet& set, const ModelConfig& config)
    : rows_(config, 1),
      streams_(config.streams),
      iterations_(config.sinkhorn_iterations),
      sinkhorn_(config.residual == "mhc"),
      pre_(&rows_.add(set, "mix.pre", {streams_, streams_})),
      post_(&rows_.add(set, "mix.post", {streams_, streams_})),
      res_(&rows_.add(set, "mix.res", {streams_, streams_})) {}

void HyperConnection::begin_step() {
  const at::NoGradGuard no_gradient;
  const at::Tensor read = at::softmax(pre_->master, -1).mean(1);
  // One row more than there are layers: after the last block the streams are read with equal weights.
  const at::Tensor last = at::full({1, streams_}, 1.0 / double(streams_), read.options());
  coefficients_.read = at::cat({read, last});
  coefficients_.write = at::softmax(post_->master, -1).sum(1);
  coefficients_.mix = sinkhorn_ ? sinkhorn(res_->master, iterations_) : res_->master.exp();
  gradients_.read = at::zeros_like(coefficients_.read);
  gradients_.write = at::zeros_like(coefficients_.write);
  gradients_.mix = at::zeros_like(coefficients_.mix);
}

void HyperConnection::end_backward() {
  const at::NoGradGuard no_gradient;
  const at::IntArrayRef shape = pre_->master.sizes();
  contribute(*res_, sinkhorn_ ? sinkhorn_backward(res_->master, iterations_, gradients_.mix)
                              : gradients_.mix * coefficients_.mix);
  contribute(*post_, softmax_backward(post_->master, gradients_.write.unsqueeze(1).expand(shape)));
  const at::Tensor dread = gradients_.read.narrow(0, 0, rows_.here()) / double(streams_);
  contribute(*pre_, softmax_backward(pre_->master, dread.unsqueeze(1).expand(shape)));
}

at::Tensor HyperConnection::spread(const at::Tensor& h) {
  return h.unsqueeze(2).expand({h.size(0), h.size(1), streams_, h.size(2)}).contiguous();
}

ResidualState HyperConnection::resume(const at::Tensor& carried, int64_t sublayer) {
  return {carried, read_streams(carried, handle(sublayer))};
}

// Behind a run of layers that are here, what the next row of coefficients reads is read for nobody.
ResidualState HyperConnection::advance(const ResidualState& state, const at::Tensor& output, int64_t sublayer) {
  auto [streams, input] = write_and_read_streams(state.streams, output, handle(sublayer));
  return {streams, input};
}

// The last write has read the streams already, and a read is linear: that of y alone is missing.
ResidualState HyperConnection::add(const ResidualState& state, const at::Tensor& y, int64_t sublayer) {
  return {state.streams + y, state.input + read_streams(y, handle(sublayer))};
}

}  // namespace braid
