// SPDX-License-Identifier: Apache-2.0
#include "infer/speculation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace braid {

void check_speculation(const SpeculationOptions& options) {
  if (options.proposer == Proposer::none) return;
  if (options.tokens < 1) throw UsageError(str("proposed tokens: expected 1 or more, found ", options.tokens));
  if (options.ngram < 2) throw UsageError(str("tokens of an n-gram: expected 2 or more, found ", options.ngram));
}

namespace {

constexpr int64_t shortest_ngram = 2;

// Where the text's last n tokens stand before, the latest such place; -1 for none.
int64_t latest_place(std::span<const int64_t> text, int64_t n) {
  const auto size = static_cast<int64_t>(text.size());
  const auto last = text.last(static_cast<size_t>(n));
  for (int64_t begin = size - n - 1; begin >= 0; --begin) {
    if (std::equal(last.begin(), last.end(), text.begin() + begin)) return begin;
  }
  return -1;
}

}  // namespace

std::vector<int64_t> ngram_proposal(std::span<const int64_t> text, int64_t longest, int64_t tokens) {
  const auto size = static_cast<int64_t>(text.size());
  std::vector<int64_t> proposal;
  for (int64_t n = std::min(longest, size - 1); n >= shortest_ngram; --n) {
    const int64_t begin = latest_place(text, n);
    if (begin < 0) continue;
    for (int64_t from = begin + n; from < begin + n + tokens; ++from) {
      proposal.push_back(from < size ? text[static_cast<size_t>(from)] : proposal[static_cast<size_t>(from - size)]);
    }
    break;
  }
  return proposal;
}

void Acceptance::learn(int64_t proposed, int64_t accepted) {
  constexpr double weight = 0.2;
  for (int64_t n = 0; n < std::min(accepted + 1, proposed); ++n) {
    chance_ += weight * ((n < accepted ? 1.0 : 0.0) - chance_);
  }
}

void Acceptance::rest() { chance_ += 0.01 * (of_new_request - chance_); }

// A step that was held up by something else counts as twice its usual time at most. What is not measured now becomes a
// little cheaper, down to what fewer rows take, so that it is tried again some day.
void StepCosts::measured(int64_t rows, double seconds) {
  if (rows < 1 || rows >= static_cast<int64_t>(seconds_.size()) || seconds <= 0) return;
  double& own = seconds_[static_cast<size_t>(rows)];
  own = own == 0 ? seconds : own + 0.15 * (std::min(seconds, 2 * own) - own);
  double fewer = std::numeric_limits<double>::infinity();
  for (double& other : seconds_) {
    if (other == 0) continue;
    if (&other != &own) other = std::max(0.998 * other, std::min(other, fewer));
    fewer = other;
  }
}

double StepCosts::seconds(int64_t rows) const {
  const auto most = static_cast<int64_t>(seconds_.size()) - 1;
  const auto of = [&](int64_t at) { return seconds_[static_cast<size_t>(at)]; };
  int64_t at = std::min(rows, most);
  while (at > 0 && of(at) == 0) --at;
  if (at == 0) at = std::min(rows, most);
  while (at < most && of(at) == 0) ++at;
  return of(at);
}

namespace {

// Who is the likeliest to accept one more; -1: nobody may have one.
int64_t best_taker(std::span<const Speculated> texts, const std::vector<int64_t>& given, double& gain) {
  int64_t best = -1;
  gain = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const double own = std::pow(texts[i].chance, double(given[i] + 1));
    if (given[i] >= texts[i].tokens || own <= gain) continue;
    gain = own;
    best = static_cast<int64_t>(i);
  }
  return best;
}

}  // namespace

std::vector<int64_t> share_proposals(std::span<const Speculated> texts, const StepCosts& costs, double round_seconds,
                                     int64_t most_rows) {
  std::vector<int64_t> given(texts.size()), chosen(texts.size());
  const auto seconds_of = [&](int64_t rows, int64_t rounds) {
    const double step = costs.seconds(rows);
    return (step > 0 ? step : 1) + double(rounds) * round_seconds;
  };
  auto rows = static_cast<int64_t>(texts.size());
  double expected = double(rows), gain = 0, speed = expected / seconds_of(rows, 0);
  int64_t rounds = 0;
  while (rows < most_rows) {
    const int64_t taker = best_taker(texts, given, gain);
    if (taker < 0) break;
    rounds = std::max(rounds, ++given[static_cast<size_t>(taker)]);
    expected += gain;
    const double faster = expected / seconds_of(++rows, rounds);
    if (faster <= speed) continue;
    speed = faster;
    chosen = given;
  }
  return chosen;
}

}  // namespace braid
