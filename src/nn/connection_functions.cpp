// SPDX-License-Identifier: Apache-2.0
#include "nn/connection_functions.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/connection.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

struct ConnectionInput {
  at::Tensor X, f, write, mix;  // f, write and mix undefined where nothing is written
  CoefficientWeights weights;
};

struct ConnectionResult {
  at::Tensor X, projected, rstd, read, write, mix, m;
};

// Without history: what holds a tensor of the graph that itself is held by the graph would never be let go.
ConnectionInput without_history(ConnectionInput x) {
  for (at::Tensor* t : {&x.X, &x.f, &x.write, &x.mix}) {
    if (t->defined()) *t = t->detach();
  }
  return x;
}

// Of what backward needs.
ConnectionResult kept_of(const ConnectionResult& x) {
  return {x.X.detach(), x.projected, x.rstd, x.read, x.write.detach(), x.mix.detach(), {}};
}

kernels::Mixing mixing_of(const ModelConfig& config) {
  if (config.residual == "hc") return kernels::Mixing::unconstrained;
  return config.manifold == "permutations" ? kernels::Mixing::permutations : kernels::Mixing::sinkhorn;
}

kernels::ConnectionShape shape_of(const at::Tensor& X, const ModelConfig& config) {
  return {X.size(0) * X.size(1),      X.size(2),          X.size(3), mixing_of(config),
          config.sinkhorn_iterations, config.norm_epsilon};
}

const void* data_or_null(const at::Tensor& x) { return x.defined() ? x.const_data_ptr() : nullptr; }
void* mutable_or_null(const at::Tensor& x) { return x.defined() ? x.mutable_data_ptr() : nullptr; }
at::Tensor like_or_undefined(const at::Tensor& x) { return x.defined() ? at::empty_like(x) : at::Tensor(); }

kernels::ConnectionWrite written_by(const ConnectionInput& in) {
  return {in.X.const_data_ptr(), data_or_null(in.f), data_or_null(in.write), data_or_null(in.mix)};
}
kernels::ConnectionWeights pointers_of(const CoefficientWeights& w) {
  return {w.projection.const_data_ptr(), w.scale.const_data_ptr(), w.bias.const_data_ptr()};
}

at::Tensor scratch_for(const at::Tensor& X, const kernels::ConnectionShape& shape) {
  return at::empty({kernels::connection_scratch_bytes(launch_for(X), shape, element_of(X))},
                   X.options().dtype(at::kByte));
}

ConnectionResult run(const ConnectionInput& in, const ModelConfig& config) {
  const at::Tensor& X = in.X;
  const int64_t B = X.size(0), T = X.size(1), S = X.size(2);
  const auto numbers = in.weights.projection.options().requires_grad(false);
  const auto made = [&](std::vector<int64_t> shape) { return at::empty(shape, numbers); };
  const int64_t rows = B * T * kernels::connection_norms(mixing_of(config), S);
  ConnectionResult out{in.f.defined() ? at::empty_like(X) : X.detach(),
                       made({rows, in.weights.projection.size(1)}),
                       made({rows}),
                       made({B, T, S}),
                       made({B, T, S}),
                       made({B, T, S, S}),
                       at::empty({B, T, X.size(3)}, X.options())};
  const kernels::ConnectionShape shape = shape_of(X, config);
  kernels::connection(launch_for(X), shape, element_of(X), written_by(in), pointers_of(in.weights),
                      {in.f.defined() ? out.X.mutable_data_ptr() : nullptr, out.projected.mutable_data_ptr(),
                       out.rstd.mutable_data_ptr(), out.read.mutable_data_ptr(), out.write.mutable_data_ptr(),
                       out.mix.mutable_data_ptr(), out.m.mutable_data_ptr()},
                      scratch_for(X, shape).mutable_data_ptr());
  return out;
}

}  // namespace

class StreamSegment {
 public:
  StreamSegment(const ModelConfig& config, int64_t interval) : config_(config), interval_(interval) {}

  bool is_full() const { return int64_t(inputs_.size()) >= interval_; }

  // Its index. Of all but the first input only f is kept, and results only where no other connection will come.
  int64_t add(const ConnectionInput& input, const ConnectionResult& result) {
    ConnectionInput kept = without_history(input);
    if (!inputs_.empty()) kept.X = kept.write = kept.mix = at::Tensor();
    inputs_.push_back(kept);
    results_.push_back(interval_ == 1 ? kept_of(result) : ConnectionResult());
    return int64_t(inputs_.size()) - 1;
  }

  // Backward asks for the last one first, and for each once: what it has got is let go.
  std::pair<ConnectionInput, ConnectionResult> take(int64_t index) {
    if (!results_[size_t(index)].X.defined()) compute_again(index);
    const std::pair<ConnectionInput, ConnectionResult> taken = {input(index), results_[size_t(index)]};
    inputs_[size_t(index)] = {};
    results_[size_t(index)] = {};
    return taken;
  }

  const ModelConfig& config() const { return config_; }

 private:
  ConnectionInput input(int64_t index) const {
    ConnectionInput in = inputs_[size_t(index)];
    if (index == 0) return in;
    const ConnectionResult& before = results_[size_t(index - 1)];
    in.X = before.X, in.write = before.write, in.mix = before.mix;
    return in;
  }

  void compute_again(int64_t last) {
    const at::NoGradGuard no_gradient;
    for (int64_t i = 0; i <= last; ++i) results_[size_t(i)] = kept_of(run(input(i), config_));
  }

  const ModelConfig config_;
  int64_t interval_;
  std::vector<ConnectionInput> inputs_;
  std::vector<ConnectionResult> results_;
};

namespace {

struct HeldSegment : torch::CustomClassHolder {
  explicit HeldSegment(std::shared_ptr<StreamSegment> held) : segment(std::move(held)) {}
  std::shared_ptr<StreamSegment> segment;
};

// Gradients of the inputs, those of the weights where they are trained.
struct ConnectionGradients {
  at::Tensor X, f, write, mix;
  CoefficientWeights weights;
};

at::Tensor zeros_where(bool wanted, const at::Tensor& like) { return wanted ? at::zeros_like(like) : at::Tensor(); }

ConnectionGradients gradients_of(const ConnectionInput& in, const ConnectionResult& saved, const variable_list& given,
                                 const ModelConfig& config) {
  const CoefficientWeights& w = in.weights;
  const bool trained = w.projection.requires_grad();
  ConnectionGradients out{
      at::empty_like(in.X),
      like_or_undefined(in.f),
      like_or_undefined(in.write),
      like_or_undefined(in.mix),
      {zeros_where(trained, w.projection), zeros_where(trained, w.scale), zeros_where(trained, w.bias)}};
  const at::Tensor dX = given[0].contiguous(), dm = given[1].contiguous(), dwrite = given[2].contiguous(),
                   dmix = given[3].contiguous();
  const kernels::ConnectionShape shape = shape_of(in.X, config);
  kernels::connection_backward(
      launch_for(in.X), shape, element_of(in.X), written_by(in), pointers_of(w),
      {saved.X.const_data_ptr(), saved.projected.const_data_ptr(), saved.rstd.const_data_ptr(),
       saved.read.const_data_ptr(), saved.write.const_data_ptr(), saved.mix.const_data_ptr()},
      {dX.const_data_ptr(), dwrite.const_data_ptr(), dmix.const_data_ptr(), dm.const_data_ptr()},
      {out.X.mutable_data_ptr(), mutable_or_null(out.f), mutable_or_null(out.write), mutable_or_null(out.mix),
       mutable_or_null(out.weights.projection), mutable_or_null(out.weights.scale), mutable_or_null(out.weights.bias)},
      scratch_for(in.X, shape).mutable_data_ptr());
  return out;
}

// To (X', m', c', H'). Autograd takes no undefined inputs: where nothing is written f, write and mix are empty.
struct ConnectionFunction : torch::autograd::Function<ConnectionFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& X, const at::Tensor& f, const at::Tensor& write,
                               const at::Tensor& mix, const at::Tensor& projection, const at::Tensor& scale,
                               const at::Tensor& bias, const std::shared_ptr<StreamSegment>* segment) {
    const CoefficientWeights weights{projection, scale, bias};
    const ConnectionInput in =
        f.numel() > 0 ? ConnectionInput{X, f, write, mix, weights} : ConnectionInput{X, {}, {}, {}, weights};
    const ConnectionResult out = run(in, (*segment)->config());
    ctx->saved_data["index"] = (*segment)->add(in, out);
    ctx->saved_data["segment"] = c10::IValue::make_capsule(c10::make_intrusive<HeldSegment>(*segment));
    return {out.X, out.m, out.write, out.mix};
  }

  static variable_list backward(AutogradContext* ctx, variable_list given) {
    const auto held = c10::static_intrusive_pointer_cast<HeldSegment>(ctx->saved_data["segment"].toCapsule());
    const auto [in, saved] = held->segment->take(ctx->saved_data["index"].toInt());
    const ConnectionGradients g = gradients_of(in, saved, given, held->segment->config());
    return {g.X, g.f, g.write, g.mix, g.weights.projection, g.weights.scale, g.weights.bias, at::Tensor()};
  }
};

ResidualState connected(const ConnectionInput& in, const std::shared_ptr<StreamSegment>& segment) {
  if (!at::GradMode::is_enabled()) {
    const ConnectionResult out = run(in, segment->config());
    return {out.X, out.m, out.write, out.mix};
  }
  const at::Tensor nothing = in.f.defined() ? at::Tensor() : at::empty({0}, in.X.options());
  const auto given = [&](const at::Tensor& x) { return x.defined() ? x : nothing; };
  const variable_list out =
      ConnectionFunction::apply(in.X, given(in.f), given(in.write), given(in.mix), in.weights.projection,
                                in.weights.scale, in.weights.bias, &segment);
  return {out[0], out[1], out[2], out[3]};
}

}  // namespace

bool has_fused_connections(const ModelConfig& config) {
  return config.is_paper_form() && config.has_streams() &&
         kernels::has_connection_kernel(mixing_of(config), config.streams);
}

ResidualState FusedConnections::see(const at::Tensor& streams, const CoefficientWeights& weights) {
  segment_ = std::make_shared<StreamSegment>(config_, interval_);
  return connected({streams.contiguous(), {}, {}, {}, weights}, segment_);
}

ResidualState FusedConnections::write_and_see(const ResidualState& state, const at::Tensor& f,
                                              const CoefficientWeights& weights) {
  if (!segment_ || segment_->is_full()) segment_ = std::make_shared<StreamSegment>(config_, interval_);
  return connected({state.streams, f.contiguous(), state.write, state.mix, weights}, segment_);
}

int64_t stream_interval(const ModelConfig& config, int64_t wanted) {
  if (!has_fused_connections(config)) return 1;
  const double n = double(config.streams), sublayers = 2 * double(config.held_layers());
  return wanted > 0 ? wanted : std::max<int64_t>(1, std::llround(std::sqrt(n * sublayers / (n + 2))));
}

}  // namespace braid
