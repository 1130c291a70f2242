// SPDX-License-Identifier: Apache-2.0
// What an Engram evaluation found, as an HDF5 file: /examples, /scores, /categories and /latency, and root attributes that say what
// was evaluated.
#pragma once

#include <string>
#include <vector>

#include "experiments/engram_evaluate.h"
#include "store/run_file.h"

namespace braid {

constexpr int64_t engram_file_version = 1;

struct EngramResult {
  EngramTest test;
  std::vector<EngramAnswer> base, tuned;  // tuned is empty where only one model was asked
};

// A line of /scores: whose answers, which of the items, how judged.
struct EngramScoreLine {
  std::string model, items, match;  // base | tuned; all | verbatim | variant | unseen; prefix | strict
  Share share;
};
std::vector<EngramScoreLine> score_lines(const EngramResult& result);

// Which answers are right by the prefix (or the strict) match.
std::vector<bool> judged(const EngramTest& test, const std::vector<EngramAnswer>& answers, bool strict);

// Replaces `path`. Error when it cannot be written.
void write_engram_file(const std::string& path, const EngramResult& result, const RunAttributes& attributes);

}  // namespace braid
