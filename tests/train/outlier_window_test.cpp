// SPDX-License-Identifier: Apache-2.0
// z-scores against numbers worked out by hand.
#include "train/outlier_window.h"

#include <gtest/gtest.h>

#include <cmath>

namespace braid {
namespace {

OutlierWindow filled(int64_t length, const std::vector<double>& values) {
  OutlierWindow window(length);
  for (const double value : values) window.add(value);
  return window;
}

TEST(OutlierWindow, SaysNothingBeforeItIsFull) {
  EXPECT_EQ(OutlierWindow(4).zscore(100), 0);
  EXPECT_EQ(filled(4, {1, 2, 3}).zscore(100), 0);
  EXPECT_GT(filled(4, {1, 2, 3, 4}).zscore(100), 0);
}

TEST(OutlierWindow, CountsDeviationsOfThePopulation) {
  const OutlierWindow window = filled(4, {1, 3, 1, 3});  // mean 2, deviation 1
  EXPECT_DOUBLE_EQ(window.zscore(5), 3);
  EXPECT_DOUBLE_EQ(window.zscore(2), 0);
  EXPECT_DOUBLE_EQ(window.zscore(-1), -3);  // unusually low is not an outlier
}

TEST(OutlierWindow, ForgetsTheOldest) {
  const OutlierWindow window = filled(2, {1000, 1, 3});
  EXPECT_EQ(window.values(), (std::vector<double>{1, 3}));
  EXPECT_DOUBLE_EQ(window.zscore(3), 1);
}

TEST(OutlierWindow, OfEqualValuesCallsNothingUnusual) { EXPECT_EQ(filled(3, {2, 2, 2}).zscore(9), 0); }

TEST(OutlierWindow, OfANumberThatIsNotFiniteNeverClaimsItIsUsual) {
  const OutlierWindow window = filled(2, {1, 3});
  EXPECT_TRUE(std::isnan(window.zscore(NAN)));
  EXPECT_EQ(window.zscore(INFINITY), INFINITY);
}

TEST(OutlierWindow, GoesOnFromItsValues) {
  const OutlierWindow before = filled(3, {1, 4, 2, 8});
  OutlierWindow after(3);
  after.restore(before.values());
  EXPECT_EQ(after.values(), before.values());
  EXPECT_EQ(after.zscore(10), before.zscore(10));
  OutlierWindow shorter(2);  // the window was made smaller in the configuration
  shorter.restore(before.values());
  EXPECT_EQ(shorter.values(), (std::vector<double>{2, 8}));
  OutlierWindow longer(5);
  longer.restore(before.values());
  EXPECT_EQ(longer.zscore(100), 0);
}

}  // namespace
}  // namespace braid
