// SPDX-License-Identifier: Apache-2.0
// The member "normalizer" of a tokenizer.json: Prepend, Replace and Sequence. Others (NFC, Lowercase, …) are refused.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "text/json_field.h"
#include "text/replacement.h"

namespace braid {

class Normalizer {
 public:
  Normalizer() = default;                           // changes nothing
  explicit Normalizer(const JsonField& component);  // UsageError

  bool changes_nothing() const { return steps_.empty(); }
  // `text` is valid UTF-8 and becomes its normal form.
  void apply(std::string& text, MatchScratch& scratch) const;

 private:
  struct Prefix {
    std::string text;
  };
  using Step = std::variant<Prefix, Replacement>;
  void read(const JsonField& component);
  std::vector<Step> steps_;
};

}  // namespace braid
