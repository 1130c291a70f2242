// SPDX-License-Identifier: Apache-2.0
#include "infer/speculator.h"

#include <algorithm>

namespace braid {

namespace {

// The first step, and one now and then, has no proposals and tells what it takes then.
constexpr int64_t plain_every = 128;

}  // namespace

Speculator::Speculator(const SpeculationOptions& options, std::optional<Draft> draft, int64_t slots, int64_t most_rows)
    : options_(options),
      draft_(std::move(draft)),
      acceptances_(static_cast<size_t>(slots)),
      costs_(most_rows),
      most_rows_(most_rows) {}

Speculator::Proposals Speculator::look_up(std::span<const ProposedText> texts) const {
  Proposals found;
  for (const ProposedText& text : texts) found.push_back(ngram_proposal(text.text, options_.ngram, options_.tokens));
  return found;
}

// The last token that a text may have is never proposed: it comes of the row before it.
std::vector<Speculated> Speculator::candidates(std::span<const ProposedText> texts, const Proposals& found) const {
  std::vector<Speculated> all;
  for (size_t i = 0; i < texts.size(); ++i) {
    const int64_t room = texts[i].most_tokens - static_cast<int64_t>(texts[i].text.size()) - 1;
    const int64_t most = found.empty() ? options_.tokens : static_cast<int64_t>(found[i].size());
    all.push_back({acceptances_[static_cast<size_t>(texts[i].slot)].chance(), std::clamp<int64_t>(room, 0, most)});
  }
  return all;
}

std::vector<int64_t> Speculator::shares(const std::vector<Speculated>& candidates) const {
  if (options_.adaptive) return share_proposals(candidates, costs_, draft_ ? draft_->round_seconds() : 0, most_rows_);
  std::vector<Speculated> certain = candidates;
  for (Speculated& one : certain) one.chance = 0.99;
  return share_proposals(certain, StepCosts(most_rows_), 0, most_rows_);
}

Speculator::Proposals Speculator::drafted(std::span<const ProposedText> texts, const std::vector<int64_t>& shares,
                                          const Sampler& sampler) {
  std::vector<Draft::Wish> wishes;
  for (size_t i = 0; i < texts.size(); ++i) {
    wishes.push_back({texts[i].slot, texts[i].text, texts[i].most_tokens, shares[i]});
  }
  try {
    return draft_->propose(wishes, sampler);
  } catch (const std::exception&) {  // no memory, say: the answers do not need it
    return Proposals(texts.size());
  }
}

Speculator::Proposals Speculator::propose(std::span<const ProposedText> texts, const Sampler& sampler) {
  const auto rows = static_cast<int64_t>(texts.size());
  if (rows >= most_rows_ || (options_.adaptive && steps_++ % plain_every == 0)) return Proposals(texts.size());
  Proposals proposals = draft_ ? Proposals() : look_up(texts);
  const std::vector<int64_t> share = shares(candidates(texts, proposals));
  if (draft_) return drafted(texts, share, sampler);
  for (size_t i = 0; i < texts.size(); ++i) proposals[i].resize(static_cast<size_t>(share[i]));
  return proposals;
}

void Speculator::learn(int64_t slot, int64_t proposed, int64_t accepted) {
  Acceptance& own = acceptances_[static_cast<size_t>(slot)];
  proposed > 0 ? own.learn(proposed, accepted) : own.rest();
}

void Speculator::end(int64_t slot) {
  if (draft_) draft_->end(slot);
}

}  // namespace braid
