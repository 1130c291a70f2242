// SPDX-License-Identifier: Apache-2.0
#include "experiments/gain.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "nn/precompiled.h"

namespace braid {

namespace {

// max over |values| that keeps NaN, unlike std::max.
double largest(const at::Tensor& values) { return values.abs().max().item<double>(); }

}  // namespace

Gain composite_gain(const at::Tensor& mixing) {
  const at::NoGradGuard no_gradient;
  const at::Tensor H = mixing.cpu();
  at::Tensor product = H[0];
  for (int64_t layer = 1; layer < H.size(0); ++layer) product = H[layer].matmul(product);
  const double entry = largest(product);
  return {std::isnan(entry) ? entry : std::log10(std::max(entry, 1e-12)), largest(product.sum(1)),
          largest(product.sum(0))};
}

std::vector<ExtraColumn> gain_columns(ResidualConnection& residual, bool has_streams) {
  const Column proxy{"gain_proxy_log10_max_entry", ColumnType::float64, "log10",
                     "largest entry of the product of all mixing matrices, after the update"};
  if (!has_streams) return {{proxy, [] { return 0.0; }}};
  auto gain = std::make_shared<Gain>();
  const auto measure_all = [&residual, gain] {
    residual.begin_step();  // coefficients of the updated weights
    *gain = composite_gain(residual.mixing());
    return gain->log10_max_entry;
  };
  return {{proxy, measure_all},
          {{"amax_gain_forward", ColumnType::float64, "1", "largest absolute row sum of that product"},
           [gain] { return gain->amax_forward; }},
          {{"amax_gain_backward", ColumnType::float64, "1", "largest absolute column sum of that product"},
           [gain] { return gain->amax_backward; }}};
}

}  // namespace braid
