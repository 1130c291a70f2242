// SPDX-License-Identifier: Apache-2.0
#include "base/statistics.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace braid {

namespace {

void require_counts(int64_t lost, int64_t gained) {
  if (lost < 0 || gained < 0)
    throw Error(str("McNemar's test: expected counts of 0 or more, found ", lost, " and ", gained));
}

// log of the chance of k heads in n fair throws.
double log_chance(double n, double k) {
  return std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1) - n * std::log(2.0);
}

}  // namespace

Interval wilson_interval(int64_t successes, int64_t trials, double z) {
  if (successes < 0 || successes > trials) {
    throw Error(str("Wilson's interval: expected 0 <= successes <= trials, found ", successes, " of ", trials));
  }
  if (trials == 0) return {};
  const auto n = static_cast<double>(trials);
  const double share = static_cast<double>(successes) / n, width = z * z / n;
  const double middle = share + width / 2;
  const double reach = z * std::sqrt(share * (1 - share) / n + width / (4 * n));
  // The ends are 0 and 1 exactly where nothing or everything succeeded.
  const double low = successes == 0 ? 0 : (middle - reach) / (1 + width);
  const double high = successes == trials ? 1 : (middle + reach) / (1 + width);
  return {low, high};
}

double mcnemar_exact(int64_t lost, int64_t gained) {
  require_counts(lost, gained);
  const auto n = static_cast<double>(lost + gained);
  double tail = 0;
  for (int64_t k = std::min(lost, gained); k >= 0; --k) {
    const double chance = std::exp(log_chance(n, static_cast<double>(k)));
    tail += chance;
    if (chance < tail * 1e-18) break;  // what follows is smaller still
  }
  return std::min(1.0, 2 * tail);
}

double mcnemar_corrected(int64_t lost, int64_t gained) {
  require_counts(lost, gained);
  if (lost + gained == 0) return 1;
  const double difference = std::max<double>(std::abs(static_cast<double>(lost - gained)) - 1, 0);
  const double chi_square = difference * difference / static_cast<double>(lost + gained);
  return std::erfc(std::sqrt(chi_square / 2));
}

double percentile(std::vector<double> values, double q) {
  const bool nan = std::any_of(values.begin(), values.end(), [](double x) { return std::isnan(x); });
  if (values.empty() || nan || !(q >= 0 && q <= 100)) {
    throw Error(str("percentile ", q, " of ", values.size(), " values: expected values, none NaN, and 0 to 100"));
  }
  std::sort(values.begin(), values.end());
  const double place = q / 100 * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace braid
