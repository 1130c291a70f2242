// SPDX-License-Identifier: Apache-2.0
// How sure a measured share is, whether two of them differ, and percentiles.
#pragma once

#include <cstdint>
#include <vector>

namespace braid {

struct Interval {
  double low = 0, high = 1;
};

// Wilson's score interval of a share, without continuity correction (Wilson 1927, JASA 22; Newcombe 1998, Statistics in
// Medicine 17, method 3). z = 1.96 to more digits: 95 %. Nothing tried: [0, 1]. Error unless 0 <= successes <= trials.
Interval wilson_interval(int64_t successes, int64_t trials, double z = 1.959963984540054);

// McNemar's test of paired yes/no answers: `lost` went from right to wrong, `gained` from wrong to right. The p-value,
// two sides, of no change; 1 when no pair changed. Error for negative counts. exact: binomial with share 1/2, twice the
// smaller tail, at most 1.
double mcnemar_exact(int64_t lost, int64_t gained);
// corrected: chi square with one degree of freedom of (max(|lost - gained| - 1, 0))² / (lost + gained) (Edwards 1948,
// Psychometrika 13).
double mcnemar_corrected(int64_t lost, int64_t gained);

// The q-th percentile, 0 <= q <= 100, linear between neighbours (NumPy's default; Hyndman and Fan 1996, type 7). Error
// for no values, NaN among them, or another q.
double percentile(std::vector<double> values, double q);

}  // namespace braid
