// SPDX-License-Identifier: Apache-2.0
// A key of five digits somewhere in a long text, and the question for it. Tokens, not words: 10 digits, 5 marks and 64
// filler words. The filler is 24 sentences of 8 words, the same for everybody, in random order and from a random phase;
// keys, places and order are new in every sample. A sample is
//   filler … MARK d1 d2 d3 d4 d5 END … filler   QUERY d1 d2 d3 d4 d5      loss on what follows QUERY: d1 … d5 END
// and a pure function of seed, split, index and length. A tenth of all keys is held out: the others alone are trained.
#pragma once

#include <array>
#include <optional>

#include "data/context_task.h"
#include "data/recall_tasks.h"

namespace braid {

namespace passkey {
constexpr int64_t digits = 10, mark = 10, end = 11, query = 12;  // 13 and 14 stay free
constexpr int64_t first_word = 15, vocabulary = 79;
constexpr int64_t key_digits = 5, needle_tokens = key_digits + 2, question_tokens = key_digits + 1;
}  // namespace passkey

struct PasskeyShape {
  int64_t context = 64;  // tokens of the text before the question
  uint64_t seed = 0;
  Split split = Split::train;
  double distractors = 0;       // share of filler tokens that are digits instead
  std::optional<double> depth;  // where the needle begins, 0 to 1 of what is possible; else anywhere
};

class PasskeyTask final : public ContextTask {
 public:
  explicit PasskeyTask(const PasskeyShape& shape);  // UsageError: no room for the needle
  int64_t vocabulary() const override { return passkey::vocabulary; }
  int64_t length() const override { return shape_.context + passkey::question_tokens; }
  int64_t epoch_size() const override { return -1; }
  void sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const override;
  int64_t context() const override { return shape_.context; }
  Slice sample_with_needle(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const override;

  int64_t needle_start(int64_t index) const;
  std::array<int64_t, passkey::key_digits> key(int64_t index) const;
  const PasskeyShape& shape() const { return shape_; }

 private:
  PasskeyShape shape_;
};

// The numbers of all trained or all held-out keys, which are disjoint: the n-th of them, 0 to keys_of(split) - 1.
int64_t keys_of(Split split);
int64_t key_number(Split split, int64_t n);

}  // namespace braid
