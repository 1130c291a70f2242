// SPDX-License-Identifier: Apache-2.0
// The member "normalizer" of a tokenizer.json: NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Prepend, Replace and
// Sequence. Others are refused.
#pragma once

#include <functional>
#include <string>
#include <string_view>
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
  using Change = std::function<std::string(std::string_view)>;
  using Step = std::variant<Prefix, Replacement, Change>;
  void read(const JsonField& component);
  std::vector<Step> steps_;
};

}  // namespace braid
