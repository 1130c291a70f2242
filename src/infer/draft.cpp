// SPDX-License-Identifier: Apache-2.0
#include "infer/draft.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "infer/engine_step.h"
#include "nn/precompiled.h"
#include "nn/weight_bytes.h"

namespace braid {

Draft::Draft(Transformer& model, int64_t vocabulary, const DraftLimits& limits)
    : model_(&model),
      limits_(limits),
      cache_(make_paged_cache(model, limits.blocks, limits.block_tokens)),
      blocks_(limits.blocks, limits.block_tokens, limits.share_prefixes),
      texts_(static_cast<size_t>(limits.slots)),
      weight_bytes_(braid::weight_bytes(model)) {
  if (model.config().vocabulary != vocabulary) {
    throw UsageError(str("the draft has ", model.config().vocabulary, " tokens and the model ", vocabulary,
                         ": expected the same vocabulary"));
  }
  model.residual().begin_step();
}

void Draft::end(int64_t slot) {
  Text& text = texts_.at(static_cast<size_t>(slot));
  blocks_.release(text.blocks);
  text = {};
}

// Room for the text, and nothing in it that has become another one. Whether there is.
bool Draft::make_ready(const Wish& wish) {
  Text& own = texts_[static_cast<size_t>(wish.slot)];
  const int64_t room = std::min(wish.most_tokens, model_->config().context);
  if (static_cast<int64_t>(wish.text.size()) + wish.tokens - 1 > room) return false;
  if (own.blocks.empty()) {
    auto claim = blocks_.claim(wish.text, room);
    if (!claim) return false;
    own.blocks = std::move(claim->blocks);
    own.read.assign(wish.text.begin(), wish.text.begin() + claim->cached_tokens);
  }
  const auto part = std::mismatch(own.read.begin(), own.read.end(), wish.text.begin(), wish.text.end()).first;
  const auto known = std::min<int64_t>(part - own.read.begin(), static_cast<int64_t>(wish.text.size()) - 1);
  own.read.resize(static_cast<size_t>(known));
  return true;
}

std::vector<Draft::Going> Draft::to_be_read(std::span<const Wish> wishes) {
  std::vector<Going> all;
  int64_t left = limits_.step_tokens;
  for (size_t w = 0; w < wishes.size(); ++w) {
    const Wish& wish = wishes[w];
    if (wish.tokens == 0 || left == 0 || !make_ready(wish)) continue;
    const auto unread = wish.text.subspan(texts_[static_cast<size_t>(wish.slot)].read.size());
    const auto now = unread.first(std::min<size_t>(unread.size(), static_cast<size_t>(left)));
    all.push_back({w, {now.begin(), now.end()}, now.size() == unread.size()});
    left -= static_cast<int64_t>(now.size());
  }
  return all;
}

// Reads what is to be read and guesses behind it; who goes on, with the guess to be read.
std::vector<Draft::Going> Draft::pass(std::span<const Wish> wishes, const std::vector<Going>& going,
                                      const Sampler& sampler, int64_t ahead,
                                      std::vector<std::vector<int64_t>>& proposals) {
  std::vector<StepPiece> pieces;
  std::vector<int64_t> slots;
  for (const Going& one : going) {
    Text& own = texts_[static_cast<size_t>(wishes[one.wish].slot)];
    pieces.push_back({one.unread, static_cast<int64_t>(own.read.size()), own.blocks, one.is_whole ? 1 : 0});
    if (one.is_whole) slots.push_back(wishes[one.wish].slot);
  }
  const at::Tensor logits = run_step(*model_, cache_, pieces);
  const at::Tensor ids = slots.empty() ? at::empty({0}, at::kLong) : sampler.guess(logits, slots, ahead).cpu();
  std::vector<Going> next;
  int64_t row = 0;
  for (const Going& one : going) {
    const Wish& wish = wishes[one.wish];
    Text& own = texts_[static_cast<size_t>(wish.slot)];
    own.read.insert(own.read.end(), one.unread.begin(), one.unread.end());
    if (ahead == 0) blocks_.filled(own.blocks, own.read);
    if (!one.is_whole) continue;
    const int64_t id = ids.const_data_ptr<int64_t>()[row++];
    if (id < 0) continue;
    proposals[one.wish].push_back(id);
    if (ahead + 1 < wish.tokens) next.push_back({one.wish, {id}, true});
  }
  return next;
}

std::vector<std::vector<int64_t>> Draft::propose(std::span<const Wish> wishes, const Sampler& sampler) {
  std::vector<std::vector<int64_t>> proposals(wishes.size());
  std::vector<Going> going = to_be_read(wishes);
  for (int64_t ahead = 0; !going.empty(); ++ahead) {
    const Stopwatch watch;
    going = pass(wishes, going, sampler, ahead, proposals);
    if (ahead == 0) continue;  // what there was to read made it another one
    round_seconds_ = round_seconds_ == 0 ? watch.seconds() : round_seconds_ + 0.1 * (watch.seconds() - round_seconds_);
  }
  return proposals;
}

}  // namespace braid
