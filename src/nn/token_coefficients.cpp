// SPDX-License-Identifier: Apache-2.0
#include "nn/token_coefficients.h"

#include "nn/manifold.h"
#include "nn/precompiled.h"
#include "nn/product.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// y = RMSNorm(x) P of x [R, N] and P [N, K]. The norm's division by the root mean square is done after the product, so
// that no normalised copy of x is made (mHC, section 4.3.1).
struct NormedProduct : torch::autograd::Function<NormedProduct> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& P, double epsilon) {
    const at::Tensor norm = at::linalg_vector_norm(x, 2, {-1}, true);
    const at::Tensor rstd = (norm.square() / double(x.size(1)) + epsilon).rsqrt();  // [R, 1]
    const at::Tensor y = product(x, P.t()) * rstd;
    ctx->save_for_backward({x, P, rstd, y});
    return y;
  }

  // dx = rstd dy P' - x rstd^2 (y . dy) / N, for rstd depends on x, too.
  static variable_list backward(AutogradContext* ctx, variable_list outputs) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &P = saved[1], &rstd = saved[2], &y = saved[3], &dy = outputs[0];
    const at::Tensor scaled = dy * rstd;
    const at::Tensor along = (y * dy).sum(-1, true) * rstd.square() / double(x.size(1));
    const at::Tensor dx = product(scaled, P).addcmul_(x, along, -1);
    return {dx, product(x.t(), scaled.t()), at::Tensor()};
  }
};

at::Tensor normed_product(const at::Tensor& x, const at::Tensor& P, double epsilon) {
  return NormedProduct::apply(x, P, epsilon);
}

// scale [1, n] to [1, sum of counts], each repeated.
at::Tensor spread(const at::Tensor& scale, at::IntArrayRef counts) {
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i < counts.size(); ++i) parts.push_back(scale.narrow(1, int64_t(i), 1).expand({1, counts[i]}));
  return at::cat(parts, 1);
}

int64_t mixing_logits(const ModelConfig& config) {
  const int64_t S = config.streams;
  return config.manifold == "permutations" ? permutations_of(S) : S * S;
}

TokenCoefficients constrained(const at::Tensor& X, const CoefficientWeights& weights, const ModelConfig& config) {
  const int64_t B = X.size(0), T = X.size(1), S = X.size(2), R = mixing_logits(config);
  const at::Tensor y = normed_product(X.view({B * T, S * X.size(3)}), weights.projection, config.norm_epsilon);
  const at::Tensor raw = at::addcmul(weights.bias, y, spread(weights.scale, {S, S, R}));
  const auto parts = raw.split_with_sizes({S, S, R}, 1);
  const at::Tensor mix = config.manifold == "permutations"
                             ? mix_of_permutations(parts[2], S)
                             : doubly_stochastic(parts[2].reshape({B * T, S, S}), config.sinkhorn_iterations);
  return {at::sigmoid(parts[0]).view({B, T, S}), (2 * at::sigmoid(parts[1])).view({B, T, S}), mix.view({B, T, S, S})};
}

TokenCoefficients unconstrained(const at::Tensor& X, const CoefficientWeights& weights, const ModelConfig& config) {
  const int64_t B = X.size(0), T = X.size(1), S = X.size(2);
  const at::Tensor y = normed_product(X.view({B * T * S, X.size(3)}), weights.projection, config.norm_epsilon);
  const at::Tensor read_and_mix = weights.scale.narrow(1, 0, 1), write = weights.scale.narrow(1, 1, 1);
  const at::Tensor scale = at::cat({read_and_mix, write, read_and_mix.expand({1, S})}, 1);
  const at::Tensor raw = at::addcmul(weights.bias, at::tanh(y).view({B, T, S, 2 + S}), scale);
  return {raw.select(-1, 0), raw.select(-1, 1), raw.narrow(-1, 2, S).transpose(-1, -2)};
}

int64_t product_of(const std::vector<int64_t>& shape) {
  int64_t all = 1;
  for (const int64_t size : shape) all *= size;
  return all;
}

}  // namespace

CoefficientShapes coefficient_shapes(const ModelConfig& config) {
  const int64_t S = config.streams, D = config.width;
  if (config.residual == "hc") return {{D, 2 + S}, {1, 2}, {S, 2 + S}};
  const int64_t K = 2 * S + mixing_logits(config);
  return {{S * D, K}, {1, 3}, {1, K}};
}

int64_t connection_elements(const ModelConfig& config) {
  if (!config.has_streams()) return 0;
  const int64_t S = config.streams;
  if (!config.is_paper_form()) return config.held_layers() * 3 * S * S;
  const CoefficientShapes one = coefficient_shapes(config);
  const int64_t exit = config.stream_exit == "learned" && config.holds_head() ? S * config.width * S + 1 + S : 0;
  return 2 * config.held_layers() * (product_of(one.projection) + product_of(one.scale) + product_of(one.bias)) + exit;
}

TokenCoefficients token_coefficients(const at::Tensor& X, const CoefficientWeights& weights, const ModelConfig& config) {
  return config.residual == "hc" ? unconstrained(X, weights, config) : constrained(X, weights, config);
}

at::Tensor exit_coefficients(const at::Tensor& X, const CoefficientWeights& weights, double epsilon) {
  const int64_t B = X.size(0), T = X.size(1), S = X.size(2);
  const at::Tensor y = normed_product(X.view({B * T, S * X.size(3)}), weights.projection, epsilon);
  return at::sigmoid(at::addcmul(weights.bias, y, weights.scale)).view({B, T, S});
}

}  // namespace braid
