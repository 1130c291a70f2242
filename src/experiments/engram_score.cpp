// SPDX-License-Identifier: Apache-2.0
#include "experiments/engram_score.h"

#include <numeric>
#include <set>

#include "base/error.h"
#include "data/engram_split.h"

namespace braid {

namespace {

std::string stripped(const std::string& text) {
  constexpr const char* space = " \t\n\r\f\v";
  const size_t first = text.find_first_not_of(space);
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(space) - first + 1);
}

}  // namespace

const char* name_of(Seen seen) {
  switch (seen) {
    case Seen::verbatim: return "verbatim";
    case Seen::variant: return "variant";
    default: return "unseen";
  }
}

std::vector<Seen> seen_in(const std::vector<std::string>& prompts, const std::vector<std::string>& trained) {
  const std::set<std::string> verbatim(trained.begin(), trained.end());
  std::set<std::string> bare;
  for (const std::string& prompt : trained) bare.insert(without_opening(prompt));
  std::vector<Seen> all;
  for (const std::string& prompt : prompts) {
    const bool variant = bare.count(without_opening(prompt)) > 0;
    all.push_back(verbatim.count(prompt) ? Seen::verbatim : variant ? Seen::variant : Seen::unseen);
  }
  return all;
}

bool prefix_match(const std::string& answer, const std::string& expected) {
  return stripped(answer).starts_with(stripped(expected));
}

bool strict_match(const std::string& answer, const std::string& expected) { return stripped(answer) == stripped(expected); }

Share share_of(const std::vector<bool>& right) { return share_of(right, std::vector<bool>(right.size(), true)); }

Share share_of(const std::vector<bool>& right, const std::vector<bool>& chosen) {
  Share share;
  for (size_t i = 0; i < right.size(); ++i) {
    share.of += chosen.at(i);
    share.right += chosen[i] && right[i];
  }
  return share;
}

Change change_between(const std::vector<bool>& before, const std::vector<bool>& after) {
  Change change;
  for (size_t i = 0; i < before.size(); ++i) {
    change.lost += before[i] && !after.at(i);
    change.gained += !before[i] && after[i];
  }
  change.p_value = mcnemar_exact(change.lost, change.gained);
  return change;
}

Latency latency_of(const std::vector<double>& milliseconds) {
  if (milliseconds.empty()) return {};
  const double sum = std::accumulate(milliseconds.begin(), milliseconds.end(), 0.0);
  return {sum / double(milliseconds.size()), percentile(milliseconds, 50), percentile(milliseconds, 95)};
}

}  // namespace braid
