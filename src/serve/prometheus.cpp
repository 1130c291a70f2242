// SPDX-License-Identifier: Apache-2.0
#include "serve/prometheus.h"

#include <algorithm>
#include <charconv>

namespace braid {

namespace {

std::string number(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

std::string escaped(const std::string& value) {
  std::string text;
  for (const char c : value) {
    if (c == '\\' || c == '"') text += '\\';
    text += c == '\n' ? "\\n" : std::string(1, c);
  }
  return text;
}

}  // namespace

void Histogram::observe(double value, int64_t times) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[static_cast<size_t>(bucket)] += times;
  sum_ += value * static_cast<double>(times);
}

HttpReply metrics_reply(std::string text) {
  return {200, std::move(text), "text/plain; version=0.0.4; charset=utf-8", {}};
}

void PrometheusText::family(const std::string& name, const std::string& type, const std::string& help) {
  name_ = name;
  text_ += "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
}

void PrometheusText::line(const std::string& suffix, const Labels& labels, double value) {
  text_ += name_ + suffix;
  for (size_t i = 0; i < labels.size(); ++i) {
    text_ += (i == 0 ? "{" : ",") + labels[i].first + "=\"" + escaped(labels[i].second) + "\"";
  }
  text_ += (labels.empty() ? " " : "} ") + number(value) + "\n";
}

void PrometheusText::sample(double value, const Labels& labels) { line("", labels, value); }

void PrometheusText::gauge(const std::string& name, const std::string& help, int64_t value) {
  family(name, "gauge", help);
  sample(static_cast<double>(value));
}

void PrometheusText::counter(const std::string& name, const std::string& help, int64_t value) {
  family(name, "counter", help);
  sample(static_cast<double>(value));
}

void PrometheusText::samples(const Histogram& histogram) {
  int64_t so_far = 0;
  for (size_t i = 0; i <= histogram.bounds().size(); ++i) {
    so_far += histogram.count_in(i);
    const bool last = i == histogram.bounds().size();
    line("_bucket", {{"le", last ? "+Inf" : number(histogram.bounds()[i])}}, static_cast<double>(so_far));
  }
  line("_sum", {}, histogram.sum());
  line("_count", {}, static_cast<double>(so_far));
}

}  // namespace braid
