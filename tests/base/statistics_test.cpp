// SPDX-License-Identifier: Apache-2.0
// Published examples.
#include "base/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace braid {
namespace {

// Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998), table I,
// method 3.
TEST(Statistics, WilsonsIntervalsAreNewcombes) {
  const struct {
    int64_t successes, trials;
    double low, high;
  } rows[] = {{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0.0000, 0.1611}, {1, 29, 0.0061, 0.1718}};
  for (const auto& row : rows) {
    const Interval interval = wilson_interval(row.successes, row.trials);
    EXPECT_NEAR(interval.low, row.low, 5.1e-5) << row.successes;
    EXPECT_NEAR(interval.high, row.high, 5.1e-5) << row.successes;
  }
}

// Fagerland, Lydersen and Laake, "The McNemar test for binary matched-pairs data", BMC Medical Research Methodology 13
// (2013) 91: airway hyper-responsiveness before and after a transplantation, 1 and 7 pairs that changed.
TEST(Statistics, McNemarsTestsAreFagerlands) {
  EXPECT_NEAR(mcnemar_exact(1, 7), 0.070, 5e-4);
  EXPECT_NEAR(mcnemar_corrected(1, 7), 0.077, 5e-4);
}

TEST(Statistics, NothingTriedSaysNothing) {
  EXPECT_EQ(wilson_interval(0, 0).low, 0);
  EXPECT_EQ(wilson_interval(0, 0).high, 1);
  EXPECT_EQ(mcnemar_exact(0, 0), 1);
  EXPECT_EQ(mcnemar_corrected(0, 0), 1);
}

TEST(Statistics, ImpossibleCountsAndValuesAreRefused) {
  EXPECT_THROW(wilson_interval(3, 2), Error);
  EXPECT_THROW(wilson_interval(-1, 2), Error);
  EXPECT_THROW(mcnemar_exact(-1, 2), Error);
  EXPECT_THROW(mcnemar_corrected(1, -2), Error);
  EXPECT_THROW(percentile({}, 50), Error);
  EXPECT_THROW(percentile({1, std::nan("")}, 50), Error);
  EXPECT_THROW(percentile({1}, 100.5), Error);
}

}  // namespace
}  // namespace braid
