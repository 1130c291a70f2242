// SPDX-License-Identifier: Apache-2.0
// Numbers in the text format that Prometheus reads (its documentation, "Exposition formats", version 0.0.4).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "serve/http_message.h"

namespace braid {

using Labels = std::vector<std::pair<std::string, std::string>>;

// Observations in buckets that each hold all up to its bound.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void observe(double value, int64_t times = 1);

  const std::vector<double>& bounds() const { return bounds_; }
  int64_t count_in(size_t bucket) const { return counts_[bucket]; }  // the last one: above all bounds
  double sum() const { return sum_; }

 private:
  std::vector<double> bounds_;
  std::vector<int64_t> counts_;
  double sum_ = 0;
};

HttpReply metrics_reply(std::string text);

class PrometheusText {
 public:
  // What follows belongs to it. type: counter, gauge or histogram.
  void family(const std::string& name, const std::string& type, const std::string& help);
  void sample(double value, const Labels& labels = {});
  void samples(const Histogram& histogram);
  // Families of one sample.
  void gauge(const std::string& name, const std::string& help, int64_t value);
  void counter(const std::string& name, const std::string& help, int64_t value);
  const std::string& text() const { return text_; }

 private:
  void line(const std::string& suffix, const Labels& labels, double value);
  std::string name_, text_;
};

}  // namespace braid
