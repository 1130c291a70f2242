// SPDX-License-Identifier: Apache-2.0
#include "infer/sampler.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/philox.h"
#include "kernels/draw_tokens.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

at::Tensor ids_on(std::span<const int64_t> ids, const at::Device& device) {
  return at::tensor(at::ArrayRef<int64_t>(ids.data(), ids.size()), at::kLong).to(device);
}

// [R, numbers] from a function of the row, on the device.
template <class Fill>
at::Tensor row_numbers(size_t rows, int64_t numbers, at::ScalarType type, const at::Device& device, const Fill& fill) {
  at::Tensor all = at::empty({static_cast<int64_t>(rows), numbers}, at::kDouble);
  for (size_t r = 0; r < rows; ++r) fill(r, all.mutable_data_ptr<double>() + static_cast<int64_t>(r) * numbers);
  return all.to(device, type);
}

}  // namespace

Sampler::Sampler(int64_t slots, int64_t vocabulary, const at::Device& device)
    : vocabulary_(vocabulary), device_(device), slots_(static_cast<size_t>(slots)) {}

bool Sampler::any(std::span<const int64_t> slots, bool (*has)(const Slot&)) const {
  return std::any_of(slots.begin(), slots.end(), [&](int64_t slot) { return has(slots_[slot]); });
}

void Sampler::begin(int64_t slot, const SamplingOptions& options, std::span<const int64_t> prompt) {
  const at::NoGradGuard no_gradient;
  check_sampling(options);
  Slot& own = slots_.at(static_cast<size_t>(slot));
  own = {options, 0, {}};
  if (!options.barred.empty()) own.barred = ids_on(options.barred, device_);
  if (!options.penalises()) return;
  if (!counts_.defined()) {
    const std::vector<int64_t> shape = {static_cast<int64_t>(slots_.size()), vocabulary_};
    counts_ = at::zeros(shape, at::TensorOptions().device(device_).dtype(at::kInt));
    prompt_ = at::zeros(shape, counts_.options().dtype(at::kBool));
  }
  counts_[slot].zero_();
  prompt_[slot].zero_();
  if (!prompt.empty()) prompt_[slot].index_fill_(0, ids_on(prompt, device_), true);
}

at::Tensor Sampler::penalties(const at::Tensor& logits, std::span<const int64_t> slots) const {
  const at::Tensor numbers = row_numbers(slots.size(), 3, at::kFloat, device_, [&](size_t r, double* of_row) {
    const SamplingOptions& options = slots_[slots[r]].options;
    of_row[0] = options.repetition_penalty, of_row[1] = options.presence_penalty, of_row[2] = options.frequency_penalty;
  });
  const at::Tensor rows = ids_on(slots, device_), counts = counts_.index_select(0, rows);
  const at::Tensor in_answer = counts > 0, in_any = in_answer | prompt_.index_select(0, rows);
  const at::Tensor repetition = numbers.slice(1, 0, 1);
  const at::Tensor repeated = at::where(logits < 0, logits * repetition, logits / repetition);
  return at::where(in_any, repeated, logits) - in_answer * numbers.slice(1, 1, 2) - counts * numbers.slice(1, 2, 3);
}

at::Tensor Sampler::penalised(const at::Tensor& logits, std::span<const int64_t> slots) const {
  const auto penalises = [](const Slot& slot) { return slot.options.penalises(); };
  const auto bars = [](const Slot& slot) { return slot.bars(); };
  at::Tensor changed = logits;
  if (any(slots, penalises)) changed = penalties(logits.to(at::kFloat), slots);
  if (!any(slots, bars)) return changed;
  if (changed.is_same(logits)) changed = logits.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  for (size_t r = 0; r < slots.size(); ++r) {
    const Slot& slot = slots_[slots[r]];
    if (slot.bars()) changed[static_cast<int64_t>(r)].index_fill_(0, slot.barred, -infinity);
  }
  return changed;
}

at::Tensor Sampler::draw(const at::Tensor& logits, const at::Tensor& likeliest, std::span<const int64_t> slots,
                         int64_t ahead) const {
  const at::Tensor wide = logits.to(at::kFloat).contiguous();
  const at::Tensor draws = row_numbers(slots.size(), 5, at::kDouble, device_, [&](size_t r, double* of_row) {
    const SamplingOptions& o = slots_[slots[r]].options;
    const RandomStream stream(o.seed, RandomPurpose::sampling, "token", slots_[slots[r]].step + ahead, o.answer);
    const kernels::TokenDraw draw{o.temperature, double(o.top_k), o.top_p, o.min_p, stream.uniform(0)};
    static_assert(sizeof draw == 5 * sizeof(double));
    std::memcpy(of_row, &draw, sizeof draw);
  });
  at::Tensor ids = likeliest.contiguous(), chances = at::empty(wide.sizes(), wide.options().dtype(at::kLong));
  kernels::draw_tokens(launch_for(wide), wide.size(0), wide.size(1), wide.const_data_ptr<float>(),
                       static_cast<const kernels::TokenDraw*>(draws.const_data_ptr()), ids.mutable_data_ptr<int64_t>(),
                       static_cast<uint64_t*>(chances.mutable_data_ptr()));
  return ids;
}

// The likeliest one after another, since topk leaves open which of equal ones it takes.
void Sampler::add_logprobs(const at::Tensor& logits, std::span<const int64_t> slots, SampledTokens& sampled) const {
  int64_t most = -1;
  for (const int64_t slot : slots) most = std::max(most, slots_[slot].options.logprobs);
  if (most < 0) return;
  most = std::min(most, vocabulary_);
  at::Tensor left = at::log_softmax(logits, -1, logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  std::vector<at::Tensor> ids = {sampled.ids.clamp_min(0).unsqueeze(1)};
  std::vector<at::Tensor> values = {left.gather(1, ids.front())};
  for (int64_t n = 0; n < most; ++n) {
    ids.push_back(left.argmax(-1, true));
    values.push_back(left.gather(1, ids.back()));
    left.scatter_(1, ids.back(), -infinity);
  }
  const at::Tensor all_ids = at::cat(ids, 1).cpu(), all_values = at::cat(values, 1).to(at::kDouble).cpu();
  for (size_t r = 0; r < slots.size(); ++r) {
    const int64_t wanted = std::min(slots_[slots[r]].options.logprobs, vocabulary_);
    const auto id = all_ids[static_cast<int64_t>(r)];
    const double* value = all_values[static_cast<int64_t>(r)].const_data_ptr<double>();
    if (wanted >= 0) sampled.rows[r].logprob = value[0];
    for (int64_t n = 1; n <= wanted; ++n) {
      sampled.rows[r].top.push_back({id.const_data_ptr<int64_t>()[n], value[n]});
    }
  }
}

void Sampler::count(const SampledTokens& sampled, std::span<const int64_t> slots) {
  if (any(slots, [](const Slot& slot) { return slot.options.penalises(); })) {
    const at::Tensor times = (sampled.ids >= 0).to(counts_.scalar_type());
    counts_.index_put_({ids_on(slots, device_), sampled.ids.clamp_min(0)}, times, /*accumulate=*/true);
  }
  for (size_t r = 0; r < slots.size(); ++r) slots_[slots[r]].step += sampled.rows[r].id >= 0;
}

at::Tensor Sampler::choose(const at::Tensor& changed, std::span<const int64_t> slots, int64_t ahead) const {
  const at::Tensor likeliest = changed.argmax(-1);  // of equal ones the first; of NaN the first NaN
  const at::Tensor sound = changed.gather(1, likeliest.unsqueeze(1)).squeeze(1).isfinite();
  const at::Tensor ids = likeliest.masked_fill(sound.logical_not(), -1);
  const bool draws = any(slots, [](const Slot& slot) { return slot.options.draws(); });
  return draws ? draw(changed, ids, slots, ahead) : ids;
}

at::Tensor Sampler::guess(const at::Tensor& logits, std::span<const int64_t> slots, int64_t ahead) const {
  const at::NoGradGuard no_gradient;
  return choose(penalised(logits, slots), slots, ahead);
}

SampledTokens Sampler::sample(const at::Tensor& logits, std::span<const int64_t> slots) {
  const at::NoGradGuard no_gradient;
  if (logits.size(0) != static_cast<int64_t>(slots.size()) || logits.size(1) != vocabulary_) {
    throw Error("sampling: expected logits of one row for each slot, with the vocabulary's width");
  }
  SampledTokens sampled{choose(penalised(logits, slots), slots, 0), std::vector<SampledToken>(slots.size())};
  const at::Tensor here = sampled.ids.cpu();
  for (size_t r = 0; r < slots.size(); ++r) sampled.rows[r].id = here.const_data_ptr<int64_t>()[r];
  add_logprobs(logits, slots, sampled);
  count(sampled, slots);
  return sampled;
}

}  // namespace braid
