// SPDX-License-Identifier: Apache-2.0
// The member "post_processor" of a tokenizer.json: which special tokens stand around a text. Known are
// TemplateProcessing (its form for a single text), ByteLevel, which changes no ids, and Sequence; others are refused.
#pragma once

#include <vector>

#include "text/json_field.h"
#include "text/vocabulary.h"

namespace braid {

class PostProcessor {
 public:
  PostProcessor() = default;                           // adds nothing
  explicit PostProcessor(const JsonField& component);  // UsageError

  const std::vector<TokenId>& before() const { return before_; }
  const std::vector<TokenId>& behind() const { return behind_; }

 private:
  void read(const JsonField& component);
  void read_template(const JsonField& component);
  std::vector<TokenId> before_, behind_;
  bool has_template_ = false;
};

}  // namespace braid
