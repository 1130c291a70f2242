// SPDX-License-Identifier: Apache-2.0
#include "optim/adamw8bit.h"

#include <algorithm>

#include "base/error.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"
#include "optim/adamw.h"
#include "optim/paged_memory.h"

namespace braid {

namespace {

using kernels::moment_block;
static_assert(ParameterSet::alignment == moment_block, "no block belongs to two tensors");

constexpr int64_t piece = 1 << 25;  // elements updated at a time; the next ones are fetched meanwhile where that helps

int64_t blocks_of(int64_t elements) { return (elements + moment_block - 1) / moment_block; }

}  // namespace

AdamW8bit::AdamW8bit(std::vector<UpdateRange> ranges, const OptimConfig& config)
    : ranges_(std::move(ranges)), config_(config) {
  if (ranges_.empty()) return;
  const at::Tensor& weights = ranges_.front().weights;
  if (weights.scalar_type() != at::kFloat) throw Error("8-bit AdamW updates weights in float32 only");
  if (weights.is_cuda()) place_ = config.paged ? Place::managed : Place::gpu;
  for (const UpdateRange& range : ranges_) lay_out(range);
  first_ = make_moment(kernels::signed_dynamic_map());
  second_ = make_moment(kernels::unsigned_dynamic_map());
}

void AdamW8bit::lay_out(const UpdateRange& range) {
  for (const ParameterPart& part : range.parts) {
    if (!part.parameter->trainable) continue;
    const bool rounded = part.parameter->elements() >= least_elements;
    int64_t& total = rounded ? rounded_ : small_;
    const bool joins = !runs_.empty() && runs_.back().rounded == rounded && runs_.back().range == &range &&
                       runs_.back().first + runs_.back().count == part.offset;
    if (!joins) runs_.push_back({&range, part.offset, 0, total, rounded});
    const int64_t padded = blocks_of(part.count) * moment_block;
    runs_.back().count += padded;
    owned_.push_back({part, total, rounded});
    total += padded;
  }
}

// The padding behind a tensor belongs to its last block, whose absmax a checkpoint may set: it must say 0 by its codes.
AdamW8bit::Moment AdamW8bit::make_moment(const kernels::DynamicMap& map) const {
  const auto options = ranges_.front().weights.options();
  at::Tensor codes = place_ == Place::managed ? paged_zeros(rounded_, options.device())
                                              : at::empty({rounded_}, options.dtype(at::kByte));
  codes.fill_(std::find(map.value.begin(), map.value.end(), 0.0f) - map.value.begin());
  return {codes, at::zeros({blocks_of(rounded_)}, options), at::zeros({small_}, options)};
}

void AdamW8bit::step(double learning_rate, double divisor) {
  const at::NoGradGuard no_gradient;
  ++steps_;
  if (ranges_.empty()) return;
  const at::Tensor step_count = at::full({}, double(config_.correction_step(steps_)), ranges_.front().weights.options());
  for (const Run& run : runs_) {
    const double rate = learning_rate * run.range->rate;
    run.rounded ? update_rounded(run, rate, divisor) : update_small(run, step_count, rate, divisor);
  }
}

void AdamW8bit::update_rounded(const Run& run, double learning_rate, double divisor) {
  const at::Tensor &weights = run.range->weights, &gradient = run.range->gradient;
  const kernels::AdamWNumbers numbers{learning_rate,   config_.beta1, config_.beta2, config_.epsilon,
                                      config_.weight_decay_of(run.range->group), divisor, config_.correction_step(steps_)};
  const auto fetch = [&](int64_t at) {
    if (place_ != Place::managed || at >= run.count) return;
    for (const Moment* moment : {&first_, &second_}) {
      prefetch(moment->codes.narrow(0, run.own + at, std::min(piece, run.count - at)));
    }
  };
  fetch(0);
  for (int64_t at = 0; at < run.count; at += piece) {
    fetch(at + piece);
    const int64_t own = run.own + at, block = own / moment_block;
    kernels::adamw8bit(launch_for(weights), numbers, std::min(piece, run.count - at),
                       weights.mutable_data_ptr<float>() + run.first + at,
                       gradient.const_data_ptr<float>() + run.first + at,
                       {first_.codes.mutable_data_ptr<uint8_t>() + own, second_.codes.mutable_data_ptr<uint8_t>() + own,
                        first_.absmax.mutable_data_ptr<float>() + block, second_.absmax.mutable_data_ptr<float>() + block});
  }
}

void AdamW8bit::update_small(const Run& run, const at::Tensor& step_count, double learning_rate, double divisor) {
  const auto part = [&](const at::Tensor& flat, int64_t first) { return flat.narrow(0, first, run.count); };
  fused_adamw({part(run.range->weights, run.first), part(run.range->gradient, run.first), part(first_.wide, run.own),
               part(second_.wide, run.own)},
              step_count, config_, learning_rate, config_.weight_decay_of(run.range->group), divisor);
}

std::vector<OptimizerTensor> AdamW8bit::state() const {
  std::vector<OptimizerTensor> all;
  const auto add = [&](const std::string& kind, const Moment& moment) {
    for (const Own& own : owned_) {
      const int64_t count = own.part.count;
      if (!own.rounded) {
        all.push_back({kind, own.part, moment.wide.narrow(0, own.first, count)});
        continue;
      }
      all.push_back({kind + "_codes", own.part, moment.codes.narrow(0, own.first, count)});
      const at::Tensor absmax = moment.absmax.narrow(0, own.first / moment_block, blocks_of(count));
      all.push_back({kind + "_absmax", own.part, absmax, moment_block});
    }
  };
  add("exp_avg", first_);
  add("exp_avg_sq", second_);
  return all;
}

int64_t AdamW8bit::state_bytes() const {
  int64_t bytes = 0;
  for (const Moment* moment : {&first_, &second_}) {
    bytes += int64_t(moment->codes.nbytes() + moment->absmax.nbytes() + moment->wide.nbytes());
  }
  return bytes;
}

}  // namespace braid
