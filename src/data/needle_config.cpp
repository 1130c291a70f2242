// SPDX-License-Identifier: Apache-2.0
#include "data/needle_config.h"

#include <charconv>

#include "base/error.h"
#include "data/needle_sample.h"

namespace braid {

namespace {

std::pair<std::string, double> share_of(const std::string& key, const std::string& text) {
  const size_t sign = text.find('=');
  if (sign == std::string::npos) return {text, 1};
  double share = 0;
  const char* end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data() + sign + 1, end, share);
  if (problem == std::errc() && stop == end && share > 0 && share < 1e9) return {text.substr(0, sign), share};
  throw UsageError(
      str("needles.", key, ": \"", text, "\": expected a name, or a name and its share such as single=0.8"));
}

Shares shares_of(const std::string& key, const std::vector<std::string>& texts) {
  Shares shares;
  double sum = 0;
  for (const std::string& text : texts) sum += shares.emplace_back(share_of(key, text)).second;
  if (shares.empty()) throw UsageError(str("needles.", key, ": expected at least one, found none"));
  for (auto& [name, share] : shares) share /= sum;
  return shares;
}

}  // namespace

void NeedleConfig::describe(ConfigSection& s) {
  s.value("tasks", tasks,
          "what is asked: single, multikey, multivalue, multiquery, vt (docs/needles.md), each perhaps with "
          "its share of the samples, \"single=0.8\"");
  s.value("languages", languages, "of the texts: en, ko, perhaps with shares");
  s.value("keys", keys, "of the tasks with several; vt: hops", 1, 64);
  s.choice("characters", characters, {"alnum", "letters", "digits"},
           "what keys are made of: [A-Z0-9], [A-Z] or digits");
  s.value("key_length", key_length, "of a key [characters]", 2, 64);
  s.choice("wordings", wordings, {"all", "first", "rest"},
           "wordings and fillers that are drawn from: all, the first three quarters of each list, or the rest");
  s.value("question_tokens", question_tokens, "room for a question and its answer; none is ever cut [tokens]", 8, 4096);
}

Shares NeedleConfig::task_shares() const { return shares_of("tasks", tasks); }

Shares NeedleConfig::language_shares() const { return shares_of("languages", languages); }

void NeedleConfig::check() const {
  for (const auto& [name, share] : task_shares()) {
    const bool known =
        name == "single" || name == "multikey" || name == "multivalue" || name == "multiquery" || name == "vt";
    if (!known)
      throw UsageError(str("needles.tasks: expected single, multikey, multivalue, multiquery or vt, found ", name));
  }
  for (const auto& [name, share] : language_shares()) {
    if (name != "en" && name != "ko") throw UsageError(str("needles.languages: expected en or ko, found ", name));
  }
}

}  // namespace braid
