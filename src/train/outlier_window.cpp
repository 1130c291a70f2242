// SPDX-License-Identifier: Apache-2.0
#include "train/outlier_window.h"

#include <cmath>
#include <numeric>

namespace braid {

double OutlierWindow::zscore(double value) const {
  if (static_cast<int64_t>(values_.size()) < length_) return 0;
  const auto count = static_cast<double>(values_.size());
  const double mean = std::accumulate(values_.begin(), values_.end(), 0.0) / count;
  double squares = 0;
  for (const double one : values_) squares += (one - mean) * (one - mean);
  const double deviation = std::sqrt(squares / count);
  return deviation > 0 ? (value - mean) / deviation : 0;
}

void OutlierWindow::add(double value) {
  values_.push_back(value);
  if (static_cast<int64_t>(values_.size()) > length_) values_.erase(values_.begin());
}

void OutlierWindow::restore(std::vector<double> values) {
  values_ = std::move(values);
  while (static_cast<int64_t>(values_.size()) > length_) values_.erase(values_.begin());
}

}  // namespace braid
