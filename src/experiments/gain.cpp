// SPDX-License-Identifier: Apache-2.0
#include "experiments/gain.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "nn/precompiled.h"

namespace braid {

namespace {

// A small square matrix: a few hundred multiplications a layer are not worth a tensor operation each. In double, so that
// a product beyond fp32's range still has a logarithm.
struct Square {
  int64_t size;
  std::vector<double> entries;

  Square(const double* from, int64_t size) : size(size), entries(from, from + size * size) {}
  double at(int64_t row, int64_t column) const { return entries[static_cast<size_t>(row * size + column)]; }
};

Square product(const double* left, const Square& right) {
  Square out = right;
  for (int64_t i = 0; i < right.size * right.size; ++i) {
    double sum = 0;
    for (int64_t k = 0; k < right.size; ++k) sum += left[i / right.size * right.size + k] * right.at(k, i % right.size);
    out.entries[static_cast<size_t>(i)] = sum;
  }
  return out;
}

// The larger magnitude; NaN once there was one, unlike std::max.
double larger(double most, double value) { return std::isnan(value) || std::abs(value) > most ? std::abs(value) : most; }

double log10_max_entry(const Square& matrix) {
  double most = 0;
  for (const double entry : matrix.entries) most = larger(most, entry);
  return std::isnan(most) ? most : std::log10(std::max(most, 1e-12));
}

// Largest |sum| of a row, or of a column.
double largest_sum(const Square& matrix, bool of_rows) {
  double most = 0;
  for (int64_t i = 0; i < matrix.size; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < matrix.size; ++j) sum += of_rows ? matrix.at(i, j) : matrix.at(j, i);
    most = larger(most, sum);
  }
  return most;
}

}  // namespace

Gain composite_gain(const at::Tensor& mixing) {
  const at::Tensor H = mixing.detach().to(at::kCPU, at::kDouble).contiguous();
  const int64_t size = H.size(-1);
  const double* const first = H.const_data_ptr<double>();
  Square total(first, size);
  Gain gain;
  gain.log10_max_entry_by_layer.push_back(log10_max_entry(total));
  for (int64_t layer = 1; layer < H.size(0); ++layer) {
    total = product(first + layer * size * size, total);
    gain.log10_max_entry_by_layer.push_back(log10_max_entry(total));
  }
  gain.log10_max_entry = gain.log10_max_entry_by_layer.back();
  gain.amax_forward = largest_sum(total, true);
  gain.amax_backward = largest_sum(total, false);
  return gain;
}

ExtraMetrics gain_metrics(ResidualConnection& residual, bool has_streams) {
  const std::string name = "gain_proxy_log10_max_entry";
  // Where matrices depend on the token, there are none of the updated weights: those of the step's tokens count.
  const bool by_token = residual.mixes_by_token();
  const std::string when = by_token ? ", each the mean over the tokens of rank 0, before the update" : ", after the update";
  const Column proxy{name, ColumnType::float64, "log10", "largest entry of the product of all mixing matrices" + when};
  if (!has_streams) return {{{proxy, [] { return 0.0; }}}, {}};
  auto gain = std::make_shared<Gain>();
  const auto measure_all = [&residual, gain, by_token] {
    if (!by_token) residual.begin_step();  // coefficients of the updated weights
    *gain = composite_gain(residual.mixing());
    return gain->log10_max_entry;
  };
  ExtraMetrics extra;
  extra.columns = {{proxy, measure_all},
                   {{"amax_gain_forward", ColumnType::float64, "1", "largest absolute row sum of that product"},
                    [gain] { return gain->amax_forward; }},
                   {{"amax_gain_backward", ColumnType::float64, "1", "largest absolute column sum of that product"},
                    [gain] { return gain->amax_backward; }}};
  extra.layers.metrics = {{name, residual.mixing_count(), "log10",
                           "largest entry of the product of the mixing matrices up to this layer" + when}};
  extra.layers.measure = [gain, name] { return LayerRows{{name, gain->log10_max_entry_by_layer}}; };
  return extra;
}

}  // namespace braid
