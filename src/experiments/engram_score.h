// SPDX-License-Identifier: Apache-2.0
// How answers to the Engram test are judged. What a prompt was to the training data is told apart, because in the public
// split most of the test was trained on: there "recall" is measured, not "generalisation".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/statistics.h"

namespace braid {

enum class Seen { verbatim, variant, unseen };  // the prompt itself, the same behind another opening, neither
const char* name_of(Seen seen);

// What each of `prompts` was to `trained`.
std::vector<Seen> seen_in(const std::vector<std::string>& prompts, const std::vector<std::string>& trained);

struct EngramAnswer {
  std::string text;
  int64_t tokens = 0;  // new ones, the end token among them
  double prefill_ms = 0, decode_ms = 0;
};

// Both without white space around them, case counts. prefix: the answer begins with what is expected, as the public
// programs judge ("80" is met by "8080"); strict: it is what is expected.
bool prefix_match(const std::string& answer, const std::string& expected);
bool strict_match(const std::string& answer, const std::string& expected);

struct Share {
  int64_t right = 0, of = 0;
  double value() const { return of > 0 ? double(right) / double(of) : 0; }
  Interval interval() const { return wilson_interval(right, of); }
};
Share share_of(const std::vector<bool>& right);
// Of those entries only whose `chosen` is true.
Share share_of(const std::vector<bool>& right, const std::vector<bool>& chosen);

struct Change {
  int64_t lost = 0, gained = 0;  // right before and wrong now, and the other way
  double p_value = 1;            // exact McNemar
};
Change change_between(const std::vector<bool>& before, const std::vector<bool>& after);

struct Latency {
  double mean = 0, median = 0, p95 = 0;  // ms
};
Latency latency_of(const std::vector<double>& milliseconds);

}  // namespace braid
