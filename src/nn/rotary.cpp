// SPDX-License-Identifier: Apache-2.0
#include "nn/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "nn/precompiled.h"

namespace braid {

namespace {

constexpr double full_turn = 2 * std::numbers::pi;

// f where `kept` is 1, f / factor where it is 0.
at::Tensor mixed(const at::Tensor& f, double factor, const at::Tensor& kept) {
  return f * kept + f / factor * (1 - kept);
}

at::Tensor llama3_frequencies(const at::Tensor& f, const RopeScaling& rope) {
  const at::Tensor turns = f * (double(rope.original_context) / full_turn);
  const at::Tensor share = (turns - rope.low_frequency) / (rope.high_frequency - rope.low_frequency);
  return mixed(f, rope.factor, share.clamp(0, 1));
}

// The index of the pair that turns `turns` times in the original context: theta^(-2i/d) = 2 pi turns / context.
double pair_that_turns(double turns, const ModelConfig& config) {
  const double longest = double(config.rope.original_context) / (turns * full_turn);
  return double(config.head_width()) * std::log(longest) / (2 * std::log(config.rope_theta));
}

// The borders are whole pairs within [0, d - 1]; where they meet, a thousandth keeps them apart, as in the published
// code.
at::Tensor yarn_frequencies(const at::Tensor& f, const ModelConfig& config) {
  const RopeScaling& rope = config.rope;
  const double low = std::max(std::floor(pair_that_turns(rope.beta_fast, config)), 0.0);
  double high = std::min(std::ceil(pair_that_turns(rope.beta_slow, config)), double(config.head_width() - 1));
  if (high == low) high += 0.001;
  const at::Tensor stretched = ((at::arange(f.size(0), f.options()) - low) / (high - low)).clamp(0, 1);
  return mixed(f, rope.factor, 1 - stretched);
}

double attention_factor(const RopeScaling& rope) {
  if (rope.kind != "yarn") return 1;
  return rope.attention > 0 ? rope.attention : 0.1 * std::log(rope.factor) + 1;
}

}  // namespace

at::Tensor rotary_frequencies(const ModelConfig& config, const at::TensorOptions& options) {
  const at::Tensor exponents = at::arange(0, config.head_width(), 2, options) / double(config.head_width());
  const at::Tensor f = at::pow(config.rope_theta, exponents).reciprocal();
  if (config.rope.kind == "linear") return f / config.rope.factor;
  if (config.rope.kind == "llama3") return llama3_frequencies(f, config.rope);
  return config.rope.kind == "yarn" ? yarn_frequencies(f, config) : f;
}

RotaryTable rotary_table(const at::Tensor& position_ids, const ModelConfig& config, at::ScalarType type) {
  const at::Tensor frequencies = rotary_frequencies(config, position_ids.options().dtype(type));
  const at::Tensor positions = position_ids.dim() == 1 ? position_ids.unsqueeze(0) : position_ids;
  const at::Tensor half = positions.to(type).unsqueeze(-1) * frequencies;  // [B, T, d/2]
  const at::Tensor angles = at::cat({half, half}, -1).unsqueeze(1);
  const double factor = attention_factor(config.rope);
  if (factor == 1) return {angles.cos(), angles.sin()};
  return {angles.cos() * factor, angles.sin() * factor};
}

at::Tensor rotate(const at::Tensor& x, const RotaryTable& table) {
  const at::Tensor wide = x.to(table.cosine.scalar_type());
  const auto halves = wide.chunk(2, -1);
  const at::Tensor turned = at::cat({-halves[1], halves[0]}, -1);
  return (wide * table.cosine + turned * table.sine).to(x.scalar_type());
}

}  // namespace braid
