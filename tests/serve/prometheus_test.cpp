// SPDX-License-Identifier: Apache-2.0
#include "serve/prometheus.h"

#include <gtest/gtest.h>

namespace braid {
namespace {

TEST(Prometheus, WritesSamplesWithEscapedLabels) {
  PrometheusText text;
  text.family("braid_x", "gauge", "What x is.");
  text.sample(1.5);
  text.sample(2, {{"name", "a\"b\\c\nd"}, {"kind", "k"}});
  EXPECT_EQ(text.text(),
            "# HELP braid_x What x is.\n# TYPE braid_x gauge\nbraid_x 1.5\n"
            "braid_x{name=\"a\\\"b\\\\c\\nd\",kind=\"k\"} 2\n");
}

TEST(Prometheus, HistogramsCountUpToEachBound) {
  Histogram histogram({0.1, 1});
  histogram.observe(0.1);
  histogram.observe(0.5, 2);
  histogram.observe(7);
  PrometheusText text;
  text.family("h", "histogram", "H.");
  text.samples(histogram);
  EXPECT_EQ(text.text(),
            "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"0.1\"} 1\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 4\n"
            "h_sum 8.1\nh_count 4\n");
}

}  // namespace
}  // namespace braid
