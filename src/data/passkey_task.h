// SPDX-License-Identifier: Apache-2.0
// A key of five digits somewhere in a long text, and the question for it. Tokens, not words: 10 digits, 5 marks and 64
// filler words. The filler is 24 sentences of 8 words, the same for everybody, in random order and from a random phase;
// keys, places and order are new in every sample. A sample is
//   filler … MARK d1 d2 d3 d4 d5 END … filler   QUERY d1 d2 d3 d4 d5      loss on what follows QUERY: d1 … d5 END
// and a pure function of seed, split, index and length. A tenth of all keys is held out: the others alone are trained.
// With several keys statements have names, which are filler words (the tasks of RULER, arXiv 2404.06654, in tokens):
//   multikey    MARK name d1 … d5 END for each of several names   QUERY name       d1 … d5 END
//   multivalue  the same with one name                            ALL name         each value in the text's order, END
//   vt          CHAIN name d1 … d5 END, CHAIN name name END …     ALL d1 … d5      all names that have the value, END
#pragma once

#include <array>
#include <optional>
#include <string>

#include "data/context_task.h"
#include "data/recall_tasks.h"

namespace braid {

namespace passkey {
constexpr int64_t digits = 10, mark = 10, end = 11, query = 12, ask_all = 13, chain = 14;
constexpr int64_t first_word = 15, vocabulary = 79;
constexpr int64_t key_digits = 5, needle_tokens = key_digits + 2, question_tokens = key_digits + 1;
constexpr int64_t named_needle_tokens = needle_tokens + 1;
}  // namespace passkey

enum class PasskeyKind { multikey, multivalue, vt };
const char* name_of(PasskeyKind kind);
PasskeyKind passkey_kind(const std::string& name);  // UsageError

struct PasskeyShape {
  int64_t context = 64;  // tokens of the text before the question
  uint64_t seed = 0;
  Split split = Split::train;
  double distractors = 0;       // share of filler tokens that are digits instead
  std::optional<double> depth;  // where the (first) needle asked for begins, 0 to 1 of what is possible; else anywhere
  int64_t keys = 1;             // statements; vt: links of the chain, so one statement more
  PasskeyKind kind = PasskeyKind::multikey;  // of one key: neither names nor kinds
  int64_t samples = 0;  // so many, again and again; 0: without end
  double ends = 0;      // share of samples whose (first) needle asked for is the first or the last thing in the text

  bool has_names() const { return keys > 1 || kind != PasskeyKind::multikey; }
};

// How many statements a context of so many tokens has room for, in shape.keys, at most as many as there are.
int64_t keys_that_fit(const PasskeyShape& shape);

struct PasskeyNeedle {
  int64_t start = 0;
  std::vector<int64_t> tokens;
};

// What a sample states and asks.
struct PasskeyPlan {
  std::vector<PasskeyNeedle> needles;      // those that the answer needs first
  size_t asked = 1;                        // how many these are
  std::vector<int64_t> question, answer;   // without the end behind the answer
};

class PasskeyTask final : public ContextTask {
 public:
  explicit PasskeyTask(const PasskeyShape& shape);  // UsageError: no room for the needles
  int64_t vocabulary() const override { return passkey::vocabulary; }
  int64_t length() const override { return shape_.context + question_tokens(); }
  int64_t epoch_size() const override { return shape_.samples > 0 ? shape_.samples : -1; }
  void sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const override;
  int64_t context() const override { return shape_.context; }
  Slice sample_with_needle(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const override;

  PasskeyPlan plan(int64_t index) const;
  int64_t prefix_tokens() const;    // of the question alone
  int64_t answer_tokens() const;    // with the end
  int64_t question_tokens() const { return prefix_tokens() + answer_tokens() - 1; }  // what follows a context

  int64_t needle_start(int64_t index) const { return plan(index).needles.front().start; }
  std::array<int64_t, passkey::key_digits> key(int64_t index) const;  // of the first needle
  const PasskeyShape& shape() const { return shape_; }

 private:
  PasskeyShape shape_;
};

// The numbers of all trained or all held-out keys, which are disjoint: the n-th of them, 0 to keys_of(split) - 1.
int64_t keys_of(Split split);
int64_t key_number(Split split, int64_t n);

}  // namespace braid
