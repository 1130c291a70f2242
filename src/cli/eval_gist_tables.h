// SPDX-License-Identifier: Apache-2.0
// What braid eval OUT prints.
#pragma once

#include "experiments/gist_report.h"

namespace braid {

// Scores, what wrong answers were, when compression pays, and the six targets.
std::string gist_report_text(const GistReport& report);

}  // namespace braid
