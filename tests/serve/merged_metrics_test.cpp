// SPDX-License-Identifier: Apache-2.0
#include "serve/merged_metrics.h"

#include <gtest/gtest.h>

namespace braid {
namespace {

TEST(MergedMetrics, SamplesOfAFamilyStandTogetherWithTheirReplica) {
  const std::string own = "# HELP braid_up Up.\n# TYPE braid_up gauge\nbraid_up 1\n";
  const std::string first =
      "# HELP braid_x What x is.\n# TYPE braid_x counter\nbraid_x 1\nbraid_x{k=\"a b\"} 2\n"
      "# HELP braid_ready R.\n# TYPE braid_ready gauge\nbraid_ready 1\n";
  const std::string second =
      "# HELP braid_y Y.\n# TYPE braid_y gauge\nbraid_y 3\n# HELP braid_x What x is.\n# TYPE braid_x counter\nbraid_x 4\n";
  EXPECT_EQ(merged_metrics(own, {{"0", first}, {"1", second}, {"2", ""}}),
            "# HELP braid_up Up.\n# TYPE braid_up gauge\nbraid_up 1\n"
            "# HELP braid_x What x is.\n# TYPE braid_x counter\nbraid_x{replica=\"0\"} 1\n"
            "braid_x{replica=\"0\",k=\"a b\"} 2\nbraid_x{replica=\"1\"} 4\n"
            "# HELP braid_y Y.\n# TYPE braid_y gauge\nbraid_y{replica=\"1\"} 3\n");
}

TEST(MergedMetrics, FrontsBehindAFrontKeepTheirReplicasApart) {
  const std::string inner = "# HELP x X.\n# TYPE x gauge\nx{replica=\"0\",k=\"v\"} 1\nx{replica=\"1\"} 2\n";
  EXPECT_EQ(merged_metrics("", {{"n1:80", inner}}),
            "# HELP x X.\n# TYPE x gauge\nx{replica=\"n1:80/0\",k=\"v\"} 1\nx{replica=\"n1:80/1\"} 2\n");
}

TEST(MergedMetrics, WhatIsNoTextOfPrometheusIsLeftOut) {
  EXPECT_EQ(merged_metrics("", {{"0", "x 1\n"}, {"1", "<html>"}, {"2", "# HELP \n"}}), "");
}

}  // namespace
}  // namespace braid
