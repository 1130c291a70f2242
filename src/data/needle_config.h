// SPDX-License-Identifier: Apache-2.0
// The [needles] table: which needle samples a run is trained on.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/config.h"

namespace braid {

using Shares = std::vector<std::pair<std::string, double>>;  // names, and how much of all each has; together 1

struct NeedleConfig {
  std::vector<std::string> tasks = {"single"}, languages = {"en"};  // "single=0.8", "multikey=0.2"
  int64_t keys = 4;
  std::string characters = "alnum";
  int64_t key_length = 6;
  std::string wordings = "all";
  int64_t question_tokens = 128;

  void describe(ConfigSection& section);
  void check() const;  // UsageError that begins with the key
  Shares task_shares() const;
  Shares language_shares() const;
};

}  // namespace braid
