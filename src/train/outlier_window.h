// SPDX-License-Identifier: Apache-2.0
// The last values of a number that should change slowly, to see how unusual a new one is.
#pragma once

#include <cstdint>
#include <vector>

namespace braid {

class OutlierWindow {
 public:
  explicit OutlierWindow(int64_t length) : length_(length) {}

  // (value - mean) / standard deviation of the window (population); 0 until the window is full or when it is constant.
  double zscore(double value) const;
  void add(double value);  // the oldest leaves

  const std::vector<double>& values() const { return values_; }  // oldest first
  void restore(std::vector<double> values);                      // the last `length` of them

 private:
  int64_t length_;
  std::vector<double> values_;
};

}  // namespace braid
