// SPDX-License-Identifier: Apache-2.0
// Answers each line of its input with one: "wilson S N", "exact B C", "corrected B C" or "percentile Q X…".
#include <iostream>
#include <sstream>

#include "base/statistics.h"

int main() {
  std::cout.precision(17);
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string what;
    double first = 0;
    words >> what >> first;
    std::vector<double> rest;
    for (double x = 0; words >> x;) rest.push_back(x);
    const auto a = static_cast<int64_t>(first), b = static_cast<int64_t>(rest.at(0));
    if (what == "wilson") {
      const braid::Interval interval = braid::wilson_interval(a, b);
      std::cout << interval.low << " " << interval.high << "\n";
    } else if (what == "percentile") {
      std::cout << braid::percentile(rest, first) << "\n";
    } else {
      std::cout << (what == "exact" ? braid::mcnemar_exact(a, b) : braid::mcnemar_corrected(a, b)) << "\n";
    }
  }
}
