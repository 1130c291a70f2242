// SPDX-License-Identifier: Apache-2.0
// Proposes tokens to the answers of a step, as many as pay, and learns from what became of them.
#pragma once

#include <optional>

#include "infer/draft.h"
#include "infer/speculation.h"

namespace braid {

// An answer of a step.
struct ProposedText {
  int64_t slot = 0;               // of the sampler
  std::span<const int64_t> text;  // prompt and answer so far
  int64_t most_tokens = 0;        // that the text may grow to
};

class Speculator {
 public:
  // most_rows: of a step with proposals, those of all answers together.
  Speculator(const SpeculationOptions& options, std::optional<Draft> draft, int64_t slots, int64_t most_rows);

  // One list of tokens for each text; empty where nothing is proposed.
  std::vector<std::vector<int64_t>> propose(std::span<const ProposedText> texts, const Sampler& sampler);

  // What became of a step: of one text's proposals, and how long all of it took.
  void learn(int64_t slot, int64_t proposed, int64_t accepted);
  void measured(int64_t rows, double seconds) { costs_.measured(rows, seconds); }
  void begin(int64_t slot) { acceptances_[static_cast<size_t>(slot)] = {}; }
  void end(int64_t slot);

  int64_t weight_bytes() const { return draft_ ? draft_->weight_bytes() : 0; }
  int64_t cache_bytes() const { return draft_ ? draft_->cache_bytes() : 0; }

 private:
  using Proposals = std::vector<std::vector<int64_t>>;
  std::vector<Speculated> candidates(std::span<const ProposedText> texts, const Proposals& found) const;
  std::vector<int64_t> shares(const std::vector<Speculated>& candidates) const;
  Proposals look_up(std::span<const ProposedText> texts) const;
  Proposals drafted(std::span<const ProposedText> texts, const std::vector<int64_t>& shares, const Sampler& sampler);

  SpeculationOptions options_;
  std::optional<Draft> draft_;
  std::vector<Acceptance> acceptances_;  // by slot
  StepCosts costs_;
  int64_t most_rows_, steps_ = 0;
};

}  // namespace braid
