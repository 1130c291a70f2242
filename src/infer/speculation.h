// SPDX-License-Identifier: Apache-2.0
// Speculative decoding (Leviathan et al., arXiv 2211.17192): something cheap proposes the next tokens of an answer, and
// the model looks at all of them in one forward pass. At each place the token is chosen that would be chosen without
// proposals, from the same logits by the same random number; the proposals only say how far one pass goes. What
// proposes is the text itself, whose last tokens came before, or a smaller model of the same vocabulary.
//
// How many are proposed to whom is decided here, without a model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace braid {

enum class Proposer { none, ngram, draft };

struct SpeculationOptions {
  Proposer proposer = Proposer::none;
  int64_t tokens = 7;    // proposed to a request in one step, at most
  int64_t ngram = 3;     // ngram: so many last tokens, or fewer down to 2, are looked for in what is before them
  bool adaptive = true;  // fewer, or none, where that promises more tokens a second; else always as many as may be
};

void check_speculation(const SpeculationOptions& options);  // UsageError

// The tokens behind the latest other place of the text's last `longest` tokens, or of fewer, at least two (prompt
// lookup). Where they reach the text's end they go on with themselves, so that a text that repeats has as many as asked
// for. None: no such place.
std::vector<int64_t> ngram_proposal(std::span<const int64_t> text, int64_t longest, int64_t tokens);

// How often what is proposed to a request is accepted, given that what stood before it was.
class Acceptance {
 public:
  double chance() const { return chance_; }
  void learn(int64_t proposed, int64_t accepted);
  void rest();  // a step without a proposal: it comes nearer to what is believed of a new request, and is tried again

 private:
  static constexpr double of_new_request = 0.5;
  double chance_ = of_new_request;
};

// Seconds of a step by the rows that go through the model.
class StepCosts {
 public:
  explicit StepCosts(int64_t most_rows) : seconds_(static_cast<size_t>(most_rows) + 1) {}

  void measured(int64_t rows, double seconds);
  // Where nothing of so many rows was measured, that of the nearest fewer ones: then it is tried. 0: nothing was at
  // all.
  double seconds(int64_t rows) const;

 private:
  std::vector<double> seconds_;  // 0: not measured
};

struct Speculated {
  double chance = 0;   // that a proposal is accepted, given that those before it are
  int64_t tokens = 0;  // that may be proposed
};

// How many tokens to propose to each text: those that give the most expected tokens a second, in at most most_rows
// rows. Text i gets 1 + a + a^2 + … + a^k expected tokens of k proposals (section 3.1 of the paper); a round of the
// draft, which makes one more token for each text that wants it, takes round_seconds.
std::vector<int64_t> share_proposals(std::span<const Speculated> texts, const StepCosts& costs, double round_seconds,
                                     int64_t most_rows);

}  // namespace braid
