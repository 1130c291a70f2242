// SPDX-License-Identifier: Apache-2.0
// Rows of cells as an aligned plain-text table; numbers lean right, words lean left.
#pragma once

#include <string>
#include <vector>

namespace braid {

std::string text_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace braid
