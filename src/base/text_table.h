// SPDX-License-Identifier: Apache-2.0
// Rows of cells as an aligned plain-text table; numbers lean right, words lean left.
#pragma once

#include <limits>
#include <string>
#include <vector>

namespace braid {

std::string text_table(const std::vector<std::vector<std::string>>& rows);

// printf shows the sign of a NaN, which means nothing to a reader.
inline double plain_nan(double x) { return x == x ? x : std::numeric_limits<double>::quiet_NaN(); }

}  // namespace braid
