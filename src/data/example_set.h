// SPDX-License-Identifier: Apache-2.0
// Fine-tuning examples as token ids: a prompt and the answer to it, one to a sample or several packed into one.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"

namespace braid {

struct TokenExample {
  std::vector<int32_t> ids;
  int64_t answer = 0;  // position of the answer's first token; the prompt is [0, answer)
};

struct ExampleSetOptions {
  int64_t length = 0;        // T of a sample
  bool packs = false;        // as many examples to a sample as fit; they do not see each other
  bool answers_only = true;  // prompt tokens carry no loss
  bool shuffles = true;      // another order in each epoch; else as given
  int32_t padding = 0;       // fills samples up; never carries loss
  uint64_t seed = 0;
};

// Sample i of an epoch is the i-th of the epoch's order. What is packed together stays together: packs are made once,
// first fit over the examples from the longest to the shortest (Johnson, 1973), so that a sample remains a function of
// (seed, i). A target is the token that follows within its example.
class ExampleSet final : public Dataset {
 public:
  // UsageError: no examples, one of fewer than two tokens or without an answer, or one longer than length + 1 tokens,
  // named by its place in the list, from 1.
  ExampleSet(std::vector<TokenExample> examples, int64_t vocabulary, const ExampleSetOptions& options);

  int64_t vocabulary() const override { return vocabulary_; }
  int64_t length() const override { return options_.length; }
  int64_t epoch_size() const override { return static_cast<int64_t>(packs_.size()); }
  void sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const override;
  bool packed() const override { return options_.packs; }
  void segments(int64_t index, std::span<int64_t> segments) const override;

  int64_t examples() const { return static_cast<int64_t>(examples_.size()); }

 private:
  const std::vector<int64_t>& pack_of(int64_t index) const;

  std::vector<TokenExample> examples_;
  int64_t vocabulary_;
  ExampleSetOptions options_;
  std::vector<std::vector<int64_t>> packs_;  // examples of each sample
};

}  // namespace braid
