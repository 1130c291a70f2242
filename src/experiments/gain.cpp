// SPDX-License-Identifier: Apache-2.0
#include "experiments/gain.h"

#include <algorithm>
#include <cmath>

#include "nn/precompiled.h"

namespace braid {

namespace {

// A small square matrix: a few hundred multiplications a layer are not worth a tensor operation each. In double, so
// that a product beyond fp32's range still has a logarithm.
struct Square {
  int64_t size;
  std::vector<double> entries;

  Square(const double* from, int64_t size) : size(size), entries(from, from + size * size) {}
  double at(int64_t row, int64_t column) const { return entries[static_cast<size_t>(row * size + column)]; }
};

Square product(const Square& left, const Square& right) {
  Square out = right;
  for (int64_t i = 0; i < right.size * right.size; ++i) {
    double sum = 0;
    for (int64_t k = 0; k < right.size; ++k) sum += left.at(i / right.size, k) * right.at(k, i % right.size);
    out.entries[static_cast<size_t>(i)] = sum;
  }
  return out;
}

// The larger magnitude; NaN once there was one, unlike std::max.
double larger(double most, double value) {
  return std::isnan(value) || std::abs(value) > most ? std::abs(value) : most;
}

double log10_max_entry(const Square& matrix) {
  double most = 0;
  for (const double entry : matrix.entries) most = larger(most, entry);
  return std::isnan(most) ? most : std::log10(std::max(most, 1e-12));
}

// The |sums| of the rows, or of the columns.
std::vector<double> sums(const Square& matrix, bool of_rows) {
  std::vector<double> all;
  for (int64_t i = 0; i < matrix.size; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < matrix.size; ++j) sum += of_rows ? matrix.at(i, j) : matrix.at(j, i);
    all.push_back(std::abs(sum));
  }
  return all;
}

double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) most = larger(most, value);
  return most;
}

double largest_log(std::vector<double> values) {
  for (double& value : values) value = std::log(value);
  return largest(values);
}

std::vector<Square> squares_of(const at::Tensor& mixing) {
  const at::Tensor H = mixing.detach().to(at::kCPU, at::kDouble).contiguous();
  const int64_t size = H.size(-1);
  std::vector<Square> all;
  for (int64_t layer = 0; layer < H.size(0); ++layer) {
    all.emplace_back(H.const_data_ptr<double>() + layer * size * size, size);
  }
  return all;
}

}  // namespace

Gain composite_gain(const at::Tensor& mixing) {
  const std::vector<Square> layers = squares_of(mixing);
  Gain gain;
  Square total = layers.front();
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    if (layer > 0) total = product(layers[layer], total);
    gain.log10_max_entry_by_layer.push_back(log10_max_entry(total));
    gain.amax_forward_by_layer.push_back(largest(sums(total, true)));
    gain.log_column_sum_by_layer.push_back(largest_log(sums(total, false)));
  }
  gain.amax_backward_by_layer.resize(layers.size());
  Square behind = layers.back();
  for (size_t layer = layers.size(); layer-- > 0;) {
    if (layer + 1 < layers.size()) behind = product(behind, layers[layer]);
    gain.amax_backward_by_layer[layer] = largest(sums(behind, false));
  }
  gain.log10_max_entry = gain.log10_max_entry_by_layer.back();
  gain.amax_forward = gain.amax_forward_by_layer.back();
  gain.amax_backward = largest(sums(total, false));
  gain.log_column_sum = gain.log_column_sum_by_layer.back();
  return gain;
}

namespace {

// [L]; NaN of a matrix with an entry that is not finite, for which LAPACK would throw.
std::vector<double> second_eigenvalues(const at::Tensor& mixing) {
  const at::Tensor H = mixing.detach().to(at::kCPU, at::kDouble);
  if (H.size(-1) < 2) return std::vector<double>(static_cast<size_t>(H.size(0)), 0.0);
  const at::Tensor moduli = at::linalg_eigvals(at::nan_to_num(H, 0.0, 0.0, 0.0)).abs();
  const at::Tensor second = std::get<0>(moduli.sort(-1, true)).select(-1, 1);
  const at::Tensor shown = second.masked_fill(at::isfinite(H).flatten(1).all(1).logical_not(), NAN).contiguous();
  return {shown.const_data_ptr<double>(), shown.const_data_ptr<double>() + shown.numel()};
}

}  // namespace

SingleGains single_gains(const at::Tensor& mixing) {
  SingleGains gains;
  for (const Square& matrix : squares_of(mixing)) {
    gains.amax_forward.push_back(largest(sums(matrix, true)));
    gains.amax_backward.push_back(largest(sums(matrix, false)));
  }
  gains.second_eigenvalue = second_eigenvalues(mixing);
  return gains;
}

}  // namespace braid
