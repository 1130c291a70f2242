// SPDX-License-Identifier: Apache-2.0
#include "experiments/depth_metrics.h"

#include <algorithm>
#include <memory>

#include "experiments/gain.h"
#include "nn/depth_rows.h"
#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"

namespace braid {

namespace {

// Sums over the elements of X, [4] in double: of X^2, of (X - mean over streams)^2, of elements that are not finite, of
// all. X [N, S, D]; in parts that stay in a cache while they are read several times.
at::Tensor sums_of(const at::Tensor& X) {
  const int64_t wanted = X.is_cuda() ? int64_t{1} << 24 : int64_t{1} << 16;  // elements
  const int64_t rows = std::max<int64_t>(1, wanted / (X.size(1) * X.size(2)));
  at::Tensor all = at::zeros({4}, X.options().dtype(at::kDouble));
  for (const at::Tensor& given : X.split(rows)) {
    const at::Tensor part = given.to(at::kDouble);
    const at::Tensor apart = X.size(1) > 1 ? (part - part.mean(1, true)).square_().sum() : at::zeros({}, all.options());
    const at::Tensor bad = at::isfinite(part).logical_not_().sum().to(at::kDouble);
    all += at::stack({part.square().sum(), apart, bad, at::full({}, double(part.numel()), all.options())});
  }
  return all;
}

std::vector<double> numbers_of(const at::Tensor& tensor) {
  const at::Tensor on_host = tensor.to(at::kCPU, at::kDouble).contiguous();
  return {on_host.const_data_ptr<double>(), on_host.const_data_ptr<double>() + on_host.numel()};
}

class DepthMetrics {
 public:
  DepthMetrics(Transformer& model, const Mesh& mesh, Communicator& sharers, int64_t every)
      : model_(model),
        residual_(model.residual()),
        rows_(model.config(), residual_.sublayers_per_block()),
        sharers_(sharers),
        stages_(mesh.shape().pipeline > 1 ? &mesh.pipeline().data : nullptr),
        are_all_(sharers.size() == mesh.world().data.size()),
        every_(every) {
    model.observe_depth([this](int64_t depth, const at::Tensor& carried) { see(depth, carried); });
  }
  ~DepthMetrics() { model_.observe_depth({}); }
  DepthMetrics(const DepthMetrics&) = delete;
  DepthMetrics& operator=(const DepthMetrics&) = delete;

  bool has_streams() const { return residual_.mixing_count() > 0; }
  bool has_layers() const { return every_ > 0; }
  bool trains_mixing() const { return has_streams() && model_.parameters().all().front().trainable; }
  std::string when() const {
    return residual_.mixes_by_token() ? ", each the mean over the step's tokens, before the update"
                                      : ", after the update";
  }

  void before_step(int64_t step) {
    looks_ = has_layers() && step % every_ == 0;
    watching_ = true;
    tokens_ = 0;
    if (looks_) sums_ = at::zeros({model_.depths(), 4}, at::TensorOptions(model_.device()).dtype(at::kDouble));
  }

  // Everything that depends on the rank's tokens becomes that of all ranks, in one message.
  void after_backward(bool counts) {
    watching_ = false;
    const bool by_token = residual_.mixes_by_token();
    if (by_token || looks_) {
      const auto options = at::TensorOptions(model_.device()).dtype(at::kDouble);
      const at::Tensor mixing =
          by_token ? whole_depth(residual_.mixing().to(at::kDouble) * double(tokens_)) : at::zeros({0}, options);
      at::Tensor all = at::cat({at::full({1}, double(tokens_), options), mixing.flatten(),
                                looks_ ? sums_.flatten() : at::zeros({0}, options)});
      if (!counts) all.zero_();
      if (!model_.config().holds_embedding()) all[0].zero_();  // all stages see the same tokens
      sharers_.all_reduce(buffer_of(all), ReduceOp::sum).wait();
      if (!are_all_) add_stages(all);
      if (by_token) mixing_ = all.narrow(0, 1, mixing.numel()).view_as(mixing) / all[0];
      if (looks_) sums_ = all.narrow(0, 1 + mixing.numel(), sums_.numel()).view_as(sums_);
    }
    if (looks_ && trains_mixing()) gradient_norms_ = gradient_norms();
  }

  // Where mixing matrices do not depend on tokens: those of the updated weights.
  void after_update() {
    if (residual_.mixes_by_token() || !has_streams()) return;
    residual_.begin_step();
    mixing_ = whole_depth(residual_.mixing());
    add_stages(mixing_);
  }

  double measure_gain() {
    mixing_ = mixing_.to(at::kCPU, at::kDouble);
    gain_ = composite_gain(mixing_);
    return gain_.log10_max_entry;
  }
  const Gain& gain() const { return gain_; }

  // After measure_gain; nothing where this step's layers were not looked at.
  LayerRows rows() const {
    if (!looks_) return {};
    LayerRows rows = stream_rows();
    const std::vector<at::Tensor> sums = sums_.unbind(1);
    rows.emplace_back("residual_rms", numbers_of((sums[0] / sums[3]).sqrt()));
    if (has_streams()) rows.emplace_back("stream_disagreement", numbers_of((sums[1] / sums[0]).sqrt()));
    rows.emplace_back("nonfinite_share", numbers_of(sums[2] / sums[3]));
    return rows;
  }

 private:
  void see(int64_t depth, const at::Tensor& carried) {
    if (!watching_) return;  // an evaluation
    if (depth == first_depth()) tokens_ += carried.size(0) * carried.size(1);
    if (!looks_) return;
    const at::Tensor X = carried.detach().flatten(0, 1);
    sums_[depth] += sums_of(X.dim() == 3 ? X : X.unsqueeze(1));
  }

  // The first that is seen here.
  int64_t first_depth() const {
    const int64_t sublayer = rows_.sublayers().front();
    return sublayer == 0 ? 0 : sublayer + 1;
  }

  // [sublayers here, ...] as [sublayers, ...] with zeros for those of other stages.
  at::Tensor whole_depth(const at::Tensor& here) const {
    if (rows_.here() == rows_.all()) return here;
    std::vector<int64_t> shape = here.sizes().vec();
    shape[0] = rows_.all();
    const at::Tensor places = at::tensor(rows_.sublayers(), at::kLong).to(here.device());
    return at::zeros(shape, here.options()).index_copy(0, places, here);
  }

  void add_stages(const at::Tensor& sums) const {
    if (stages_) stages_->all_reduce(buffer_of(sums), ReduceOp::sum).wait();
  }

  LayerRows stream_rows() const {
    if (!has_streams()) return {};
    SingleGains single = single_gains(mixing_);
    LayerRows rows = {{"gain_proxy_log10_max_entry", gain_.log10_max_entry_by_layer},
                      {"amax_gain_forward", gain_.amax_forward_by_layer},
                      {"amax_gain_backward", gain_.amax_backward_by_layer},
                      {"log_column_sum", gain_.log_column_sum_by_layer},
                      {"amax_gain_forward_single", std::move(single.amax_forward)},
                      {"amax_gain_backward_single", std::move(single.amax_backward)},
                      {"second_eigenvalue", std::move(single.second_eigenvalue)}};
    if (trains_mixing()) rows.emplace_back("mixing_gradient_norm", numbers_of(gradient_norms_));
    return rows;
  }

  // [mixing matrices]: 2-norm of the gradient of all parameters of a connection.
  at::Tensor gradient_norms() const {
    at::Tensor here = at::zeros({rows_.here()}, at::TensorOptions(model_.device()).dtype(at::kDouble));
    for (const Parameter& parameter : model_.parameters().all()) {
      if (is_stacked(parameter)) here += parameter.gradient.flatten(1).to(at::kDouble).square_().sum(1);
    }
    const at::Tensor squares = whole_depth(here);
    add_stages(squares);
    return squares.sqrt();
  }

  Transformer& model_;
  ResidualConnection& residual_;
  DepthRows rows_;
  Communicator& sharers_;
  Communicator* stages_;  // null without
  bool are_all_;          // the sharers, of every stage
  int64_t every_;
  bool watching_ = false, looks_ = false;  // a step is under way; its layers are looked at
  int64_t tokens_ = 0;                     // this rank's of the step
  at::Tensor sums_;                        // [depths, 4], see sums_of
  at::Tensor mixing_, gradient_norms_;
  Gain gain_;
};

std::vector<ExtraColumn> columns_of(const std::shared_ptr<DepthMetrics>& m) {
  const Column proxy{"gain_proxy_log10_max_entry", ColumnType::float64, "log10",
                     "largest entry of the product of all mixing matrices" + m->when()};
  if (!m->has_streams()) return {{proxy, [] { return 0.0; }}};
  const auto column = [m](const char* name, const char* meaning, double Gain::*value) {
    return ExtraColumn{{name, ColumnType::float64, "1", meaning}, [m, value] { return m->gain().*value; }};
  };
  return {
      {proxy, [m] { return m->measure_gain(); }},
      column("amax_gain_forward", "largest absolute row sum of that product", &Gain::amax_forward),
      column("amax_gain_backward", "largest absolute column sum of that product", &Gain::amax_backward),
      column("log_column_sum", "largest absolute ln of an absolute column sum of that product", &Gain::log_column_sum)};
}

std::vector<LayerMetric> layer_metrics_of(const DepthMetrics& m, Transformer& model) {
  std::vector<LayerMetric> all;
  const auto mixing = [&](const char* name, const char* unit, const std::string& meaning) {
    all.push_back({name, model.residual().mixing_count(), unit, meaning});
  };
  const auto along = [&](const char* name, const char* meaning) {
    all.push_back(
        {name, model.depths(), "1", std::string(meaning) + ", all tokens of the step; depth 0: what enters", "depth"});
  };
  if (m.has_streams()) {
    const std::string composite = " of the product of the mixing matrices up to this layer" + m.when();
    const std::string behind = " of the product of the mixing matrices from this layer to the last" + m.when();
    const std::string single = " of this layer's mixing matrix" + m.when();
    mixing("gain_proxy_log10_max_entry", "log10", "largest entry" + composite);
    mixing("amax_gain_forward", "1", "largest absolute row sum" + composite);
    mixing("amax_gain_backward", "1", "largest absolute column sum" + behind);
    mixing("log_column_sum", "1", "largest absolute ln of an absolute column sum" + composite);
    mixing("amax_gain_forward_single", "1", "largest absolute row sum" + single);
    mixing("amax_gain_backward_single", "1", "largest absolute column sum" + single);
    mixing("second_eigenvalue", "1", "modulus of the second largest eigenvalue" + single);
    if (m.trains_mixing())
      mixing("mixing_gradient_norm", "1", "2-norm of the gradient of this connection's parameters, before clipping");
  }
  along("residual_rms", "root mean square of what goes along depth");
  if (m.has_streams())
    along("stream_disagreement", "2-norm of the streams' differences from their mean, over that of the streams");
  along("nonfinite_share", "share of its elements that are NaN or infinite");
  return all;
}

}  // namespace

ExtraMetrics depth_metrics(Transformer& model, const Mesh& mesh, Communicator& sharers, int64_t every) {
  const auto metrics = std::make_shared<DepthMetrics>(model, mesh, sharers, every);
  ExtraMetrics extra;
  extra.columns = columns_of(metrics);
  extra.before_step = [metrics](int64_t step) { metrics->before_step(step); };
  extra.after_backward = [metrics](bool counts) { metrics->after_backward(counts); };
  extra.after_update = [metrics] { metrics->after_update(); };
  if (!metrics->has_layers()) return extra;
  extra.layers.metrics = layer_metrics_of(*metrics, model);
  extra.layers.measure = [metrics] { return metrics->rows(); };
  return extra;
}

}  // namespace braid
